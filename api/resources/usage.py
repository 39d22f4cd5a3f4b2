"""What each project uses: sums over the read models, which are a fold of the log, so nothing counted can drift."""

from typing import Annotated

import orjson
from fastapi import APIRouter
from fastapi import Query as Parameters
from pydantic import Field
from starlette.responses import Response

from api.documents.document import page_of
from api.documents.operations import UsageDocument
from api.http.permissions import needs
from api.http.request_context import Given
from api.openapi import describe, examples
from api.reads.queries import MOST, Strict, caught_up, joined
from projections.views.view import Condition

router = APIRouter(tags=["usage"])

VIEW = "usage"
ALIVE = Condition("vm_state", "!=", "deleted")
"""Also soft-deleted: what it has is kept for it."""
ON_A_HOST = Condition("host_id", "!=", "")
SIZES = (("flavor", "core"), ("flavor", "memory"), ("disk",))


class UsageList(Strict):
    """Whose usage to list."""

    limit: int = Field(50, ge=1, le=MOST, description="projects in a page")
    marker: str | None = Field(None, max_length=255, description="the last project of the page before")
    project_id: str | None = Field(None, max_length=255)
    after: str | None = Field(None, max_length=64, description="a command or task whose effects must be seen")


@router.get(
    "/usage",
    openapi_extra=needs("project:usage"),
    summary="List what each project uses",
    responses=describe.listed(page_of(VIEW, UsageDocument), VIEW, examples.USAGE),
)
async def list_usage(given: Given, asked: Annotated[UsageList, Parameters()]) -> Response:
    """In the order of the projects' names. vCPUs, memory and disk are what hosts hold for its instances and volumes."""
    await caught_up(given, asked.after)
    own = [Condition("project", "=", asked.project_id)] if asked.project_id else []
    instances = await given.store.totals("instances", "project", [ALIVE, *own])
    held = await given.store.totals("instances", "project", [ALIVE, ON_A_HOST, *own], SIZES)
    volumes = await given.store.totals("volumes", "project", [ON_A_HOST, *own], (("size",),))
    ports = await given.store.totals("ports", "project", own)
    projects = [each for each in sorted({*instances, *volumes, *ports}) if each > (asked.marker or "")]
    docs = []
    for project in projects[: asked.limit]:
        _, vcpus, memory, disk = held.get(project, (0, 0, 0, 0))
        disk += volumes.get(project, (0, 0))[1]
        told = {"project_id": project, "instances": instances.get(project, (0,))[0], "vcpus": vcpus}
        docs.append(orjson.dumps({**told, "memory": memory, "disk": disk, "ports": ports.get(project, (0,))[0]}))
    return joined(VIEW, docs, projects[asked.limit - 1] if len(projects) > asked.limit else None)
