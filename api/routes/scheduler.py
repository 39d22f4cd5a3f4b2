"""The scheduler: what it filters and weighs by, and how it placed an instance."""

from typing import Annotated

import orjson
from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from api import describe, examples, resolve
from api.asked import Given, Project
from api.documents import Placements, SchedulerDocument
from api.reading import JSON, Strict, caught_up
from domain.scheduling.filters import FILTERS
from domain.scheduling.policy import DEFAULT
from projections.placements import Placement, placements

router = APIRouter(tags=["scheduler"])


class Explained(Strict):
    """How to read it."""

    after: str | None = Field(None, max_length=64)


@router.get(
    "/scheduler",
    summary="Read what the scheduler filters and weighs by",
    responses=describe.answers(200, SchedulerDocument, examples.SCHEDULER),
)
async def show_scheduler() -> Response:
    """Filters in the order in which they are applied; what they leave is weighed."""
    body = {
        "filters": [{"name": each.name, "leaves_out": each.story} for each in DEFAULT.filters],
        "weights": [{"name": weigher.name, "weight": weight} for weigher, weight in DEFAULT.weighers],
    }
    return Response(orjson.dumps(body), media_type=JSON)


@router.get(
    "/instances/{ref}/placements",
    summary="Read how an instance was placed",
    responses=describe.answers(200, Placements, examples.PLACEMENTS, 404, 422, 504),
)
async def instance_placements(
    given: Given, project: Project, ref: str, asked: Annotated[Explained, Query()]
) -> Response:
    """What the scheduler found each time, the oldest first; the 20 newest."""
    await caught_up(given, asked.after)
    found = await resolve.found(given, "instances", ref, project)
    told = []
    for each in await placements(given.store, found.id):
        host = await given.store.get("hosts", each.host_id) if each.host_id else None
        told.append(_told(each, orjson.loads(host.doc)["name"] if host else ""))
    return Response(orjson.dumps({"id": found.id, "placements": told}), media_type=JSON)


def _told(placement: Placement, host_name: str) -> dict[str, object]:
    filters, before = [], placement.report.total
    for count in placement.report.counts:
        story = FILTERS[count.filter].story if count.filter in FILTERS else ""
        filters.append(
            {"filter": count.filter, "left_out": before - count.left, "left": count.left, "leaves_out": story}
        )
        before = count.left
    entry = placement.entry
    return {
        "time": entry.time,
        "host": {"id": placement.host_id, "name": host_name} if placement.host_id else None,
        "hosts": placement.report.total,
        "filters": filters,
        "best": [each.model_dump() for each in placement.report.best],
        "place": {"topic": entry.topic, "partition": entry.partition, "offset": entry.offset},
    }
