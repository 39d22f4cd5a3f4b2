"""Usage of each project: sums over the read models, which are made from the log, so that no counter can drift."""

from typing import Annotated

import orjson
from fastapi import APIRouter
from fastapi import Query as Parameters
from pydantic import Field
from starlette.responses import Response

from api.documents.document import page_of
from api.documents.operations import UsageDocument
from api.http.permissions import needs
from api.http.request_context import ServicesDep
from api.openapi import describe, examples
from api.reads.queries import MOST, After, Strict, caught_up, joined
from projections.views.view import Condition

router = APIRouter(tags=["usage"])

VIEW = "usage"
ALIVE = Condition("vm_state", "!=", "deleted")
"""Condition on instances that count, including soft-deleted ones, which keep their resources."""
ON_A_HOST = Condition("host_id", "!=", "")
SIZES = (("flavor", "core"), ("flavor", "memory"), ("disk",))


class UsageList(Strict):
    """Parameters of a list of usage by project."""

    limit: int = Field(50, ge=1, le=MOST, description="most projects in a page")
    marker: str | None = Field(None, max_length=255, description="id of the last project of the page before")
    project_id: str | None = Field(None, max_length=255)
    after: After = None


@router.get(
    "/usage",
    openapi_extra=needs("project:usage"),
    summary="List the usage of each project",
    responses=describe.listed(page_of(VIEW, UsageDocument), VIEW, examples.USAGE),
)
async def list_usage(services: ServicesDep, parameters: Annotated[UsageList, Parameters()]) -> Response:
    """Projects are listed in the order of their ids. vCPUs, memory and disk are held on hosts for instances, volumes
    and snapshots of volumes."""
    await caught_up(services, parameters.after)
    own = [Condition("project", "=", parameters.project_id)] if parameters.project_id else []
    instances = await services.store.totals("instances", "project", [ALIVE, *own])
    held = await services.store.totals("instances", "project", [ALIVE, ON_A_HOST, *own], SIZES)
    volumes = await services.store.totals("volumes", "project", [ON_A_HOST, *own], (("size",),))
    snapshots = await services.store.totals("volume-snapshots", "project", [ON_A_HOST, *own], (("size",),))
    ports = await services.store.totals("ports", "project", own)
    projects = [each for each in sorted({*instances, *volumes, *snapshots, *ports}) if each > (parameters.marker or "")]
    docs = []
    for project in projects[: parameters.limit]:
        _, vcpus, memory, disk = held.get(project, (0, 0, 0, 0))
        disk += volumes.get(project, (0, 0))[1] + snapshots.get(project, (0, 0))[1]
        told = {"project_id": project, "instances": instances.get(project, (0,))[0], "vcpus": vcpus}
        docs.append(orjson.dumps({**told, "memory": memory, "disk": disk, "ports": ports.get(project, (0,))[0]}))
    return joined(VIEW, docs, projects[parameters.limit - 1] if len(projects) > parameters.limit else None)
