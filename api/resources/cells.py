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
from api.reads.queries import MOST, After, Strict, caught_up, joined
from api.reads.scheduler_replay import own_ratios, with_capacity
from domain.core.messages import Topic
from domain.core.resources import RESOURCES
from infra.log.topics import TOPICS, partition_of

router = APIRouter(tags=["cells"])

VIEW = "cells"
SIZES = tuple((resource, part) for resource in RESOURCES for part in ("total", "used"))


class CellList(Strict):
    """Parameters of a list of cells."""

    limit: int = Field(50, ge=1, le=MOST, description="most cells in a page")
    marker: str | None = Field(None, max_length=255, description="name of the last cell of the page before")
    after: After = None


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
    ratios = own_ratios(services)
    docs = []
    for name in names[: parameters.limit]:
        hosts, instances, *sums = found[name]
        sized = dict(zip(SIZES, sums, strict=True))
        sizes = {each: {"total": sized[each, "total"], "used": sized[each, "used"]} for each in RESOURCES}
        partition = partition_of(name.encode(), TOPICS[Topic.SCHEDULING].partitions)
        told = {"name": name, "hosts": hosts, "instances": instances, **with_capacity(sizes, ratios)}
        docs.append(orjson.dumps({**told, "partition": partition}))
    return joined(VIEW, docs, names[parameters.limit - 1] if len(names) > parameters.limit else None)
