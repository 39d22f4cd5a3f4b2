"""Cells: how many hosts each has, how full they are, and in which partition its scheduler finds its records."""

from typing import Annotated

import orjson
from fastapi import APIRouter
from fastapi import Query as Parameters
from pydantic import Field
from starlette.responses import Response

from api.documents.document import page_of
from api.documents.hosts import CellDocument
from api.http.permissions import needs
from api.http.request_context import ServicesDep
from api.openapi import describe, examples
from api.reads.queries import MOST, Strict, caught_up, joined
from domain.core.messages import Topic
from infra.log.topics import TOPICS, partition_of

router = APIRouter(tags=["cells"])

VIEW = "cells"
SIZES = tuple((resource, part) for resource in ("vcpus", "memory", "disk") for part in ("total", "used"))


class CellList(Strict):
    """Parameters of a list of cells."""

    limit: int = Field(50, ge=1, le=MOST, description="most cells in a page")
    marker: str | None = Field(None, max_length=255, description="name of the last cell of the page before")
    after: str | None = Field(
        None, max_length=64, description="id of a command or task; wait until its effects can be read"
    )


@router.get(
    "/cells",
    openapi_extra=needs("cell:list"),
    summary="List cells",
    responses=describe.listed(page_of(VIEW, CellDocument), VIEW, examples.CELL),
)
async def list_cells(services: ServicesDep, parameters: Annotated[CellList, Parameters()]) -> Response:
    """Cells are listed in the order of their names. A cell exists as long as it has a host."""
    await caught_up(services, parameters.after)
    found = await services.store.totals("hosts", "cell", [], (("instances",), *SIZES))
    names = [each for each in sorted(found) if each > (parameters.marker or "")]
    docs = []
    for name in names[: parameters.limit]:
        hosts, instances, *sums = found[name]
        told = dict(zip(SIZES, sums, strict=True))
        sizes = {
            resource: {"total": told[resource, "total"], "used": told[resource, "used"]}
            for resource in ("vcpus", "memory", "disk")
        }
        partition = partition_of(name.encode(), TOPICS[Topic.SCHEDULING].partitions)
        docs.append(
            orjson.dumps({"name": name, "hosts": hosts, "instances": instances, **sizes, "partition": partition})
        )
    return joined(VIEW, docs, names[parameters.limit - 1] if len(names) > parameters.limit else None)
