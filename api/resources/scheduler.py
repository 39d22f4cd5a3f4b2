"""The scheduler: its filters and weights, and how it placed an instance."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import orjson
from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from api.documents.scheduling import Placements, SchedulerDocument, Scores
from api.http.patterns import LIKE_A_PLACE, LIKE_AN_ID
from api.http.permissions import needs
from api.http.request_context import ProjectDep, ServicesDep
from api.openapi import describe, examples
from api.reads import resolve
from api.reads.queries import JSON, After, Strict, caught_up
from api.reads.scheduler_replay import own_ratios, replayed
from domain.core.errors import Invalid, NotFound, PastMissing
from domain.scheduling.filters import FILTERS
from domain.scheduling.policy import DEFAULT
from domain.scheduling.scores import HostScore, Look
from projections.history.placements import Placement, placements
from projections.store.port import HistoryEntry
from projections.views.view import UnknownMarker

router = APIRouter(tags=["scheduler"])

MOST_SCORES = 10_000


class Explained(Strict):
    """Parameters of a read of placements."""

    after: After = None


class Scoring(Explained):
    """Parameters that choose a placement and a page of its hosts."""

    at: str | None = Field(
        None,
        max_length=300,
        description="position of the placement on the log, TOPIC/PARTITION/OFFSET; the newest unless given",
        json_schema_extra=LIKE_A_PLACE,
    )
    limit: int = Field(1000, ge=1, le=MOST_SCORES, description="most hosts in a page")
    marker: str | None = Field(
        None, max_length=64, description="id of the last host of the page before", json_schema_extra=LIKE_AN_ID
    )


@router.get(
    "/scheduler",
    openapi_extra=needs("scheduler:show"),
    summary="Show the scheduler's filters and weights",
    responses=describe.answers(200, SchedulerDocument, examples.SCHEDULER),
)
async def show_scheduler() -> Response:
    """Filters are listed in the order in which they are applied; the remaining hosts are ranked by the weights."""
    body = {
        "filters": [{"name": each.name, "leaves_out": each.story} for each in DEFAULT.filters],
        "weights": [{"name": weigher.name, "weight": weight} for weigher, weight in DEFAULT.weighers],
    }
    return Response(orjson.dumps(body), media_type=JSON)


@router.get(
    "/instances/{ref}/placements",
    summary="Read how an instance was placed",
    responses=describe.answers(200, Placements, examples.PLACEMENTS, *describe.NAMED, 422, 504),
)
async def instance_placements(
    services: ServicesDep, project: ProjectDep, ref: str, parameters: Annotated[Explained, Query()]
) -> Response:
    """The last 20 decisions about the instance are listed with the oldest first."""
    await caught_up(services, parameters.after)
    found = await resolve.found(services, "instances", ref, project)
    told = []
    for each in await placements(services.store, found.id):
        host = await services.store.get("hosts", each.host_id) if each.host_id else None
        told.append(_told(each, orjson.loads(host.doc) if host else {}))
    return Response(orjson.dumps({"id": found.id, "placements": told}), media_type=JSON)


@router.get(
    "/instances/{ref}/placements/scores",
    openapi_extra=needs("instance:placements"),
    summary="Read what every host scored when an instance was placed",
    responses=describe.answers(200, Scores, examples.SCORES, *describe.NAMED, 422, 429, 504),
)
async def placement_scores(
    services: ServicesDep, project: ProjectDep, ref: str, parameters: Annotated[Scoring, Query()]
) -> Response:
    """Hosts are listed with the best first, and those that filters left out at the end. Scores are not stored: a replay
    of the scheduler's past computes them again."""
    await caught_up(services, parameters.after)
    found = await resolve.found(services, "instances", ref, project)
    placement = _at(await placements(services.store, found.id), found.id, parameters.at)
    entry = placement.entry
    look = Look(entry.id, entry.time, DEFAULT, own_ratios(services))
    scored = await replayed(services, services.replays.scores(look))
    if scored is None:
        raise PastMissing(what=f"{entry.topic}:{entry.partition}:{entry.offset} is no placement there")
    shown, following = _page(scored.hosts, parameters)
    body = {
        "id": found.id,
        "time": entry.time,
        "place": _place(entry),
        "hosts": len(scored.hosts),
        "differs": scored.differs,
        "scores": [_score(each) for each in shown],
        "next": following,
    }
    return Response(orjson.dumps(body), media_type=JSON)


def _at(found: Sequence[Placement], ident: str, place: str | None) -> Placement:
    """Return the placement at this position on the log; the newest one if no position is given."""
    if not found:
        raise NotFound(kind="placement of instance", id=ident)
    if place is None:
        return found[-1]
    for each in found:
        if place.replace("/", ":") == f"{each.entry.topic}:{each.entry.partition}:{each.entry.offset}":
            return each
    known = ", ".join(f"{each.entry.topic}/{each.entry.partition}/{each.entry.offset}" for each in found)
    raise Invalid(field="at", value=place, allowed=f"the instance was placed at {known}")


def _page(hosts: Sequence[HostScore], parameters: Scoring) -> tuple[Sequence[HostScore], str | None]:
    begin = 0
    if parameters.marker is not None:
        begin = next((number for number, host in enumerate(hosts, 1) if host.id == parameters.marker), 0)
        if not begin:
            raise UnknownMarker(parameters.marker)
    shown = hosts[begin : begin + parameters.limit]
    return shown, shown[-1].id if begin + parameters.limit < len(hosts) else None


def _score(host: HostScore) -> dict[str, object]:
    story = FILTERS[host.left_out_by].story if host.left_out_by else ""
    return {
        "id": host.id,
        "name": host.name,
        "score": host.score,
        "left_out_by": host.left_out_by,
        "leaves_out": story,
    }


def _place(entry: HistoryEntry) -> dict[str, object]:
    return {"topic": entry.topic, "partition": entry.partition, "offset": entry.offset}


def _told(placement: Placement, host: Mapping[str, str]) -> dict[str, object]:
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
        "host": {"id": placement.host_id, "name": host.get("name", "")} if placement.host_id else None,
        "cell": placement.cell or resolve.cell(host),
        "hosts": placement.report.total,
        "filters": filters,
        "best": [each.model_dump() for each in placement.report.best],
        "place": _place(entry),
    }
