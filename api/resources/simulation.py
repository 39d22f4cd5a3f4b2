"""Simulation: the scheduler's past decided by another policy, without any effect on instances."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body
from pydantic import Field
from starlette.responses import Response

from api.documents.simulation import Simulation
from api.http.patterns import LIKE_A_TIME
from api.http.permissions import needs
from api.http.request_context import ServicesDep
from api.openapi import describe, examples
from api.reads.queries import JSON, Strict
from api.reads.scheduler_replay import own_ratios, replayed, with_capacity
from api.reads.time_travel import LONGEST, TIMES, time
from api.services import Services
from domain.core.errors import Invalid
from domain.core.resources import RESOURCES
from domain.scheduling.custom_policy import wished
from domain.scheduling.policy import DEFAULT, Policy
from domain.scheduling.simulation import Decided, Filled, FleetLoad, Question, Simulated, Size
from domain.scheduling.table import Ratios
from projections.views.view import Condition, Query

router = APIRouter(tags=["scheduler"])

MOST = 10_000
MOST_MOVES = 100
MOST_HOSTS = 200
MOST_FLAVORS = 1000
MOST_NAMES = 100
HEAVIEST = 1e6


class RatiosBody(Strict):
    """Overcommit ratios: units promised for each unit that a host has; the scheduler's own unless given."""

    vcpus: float | None = Field(None, gt=0, le=1000)
    memory: float | None = Field(None, gt=0, le=1000)
    disk: float | None = Field(None, gt=0, le=1000)


class PolicyBody(Strict):
    """A scheduling policy; parts that are not given are those of the scheduler."""

    filters: list[str] | None = Field(None, max_length=MOST_NAMES, description="names of filters, in order")
    weights: dict[str, Annotated[float, Field(ge=-HEAVIEST, le=HEAVIEST)]] | None = Field(
        None, max_length=MOST_NAMES, description="weights by name; a negative weight prefers the least"
    )
    ratios: RatiosBody = RatiosBody()


class SimulateBody(Strict):
    """A simulation: a policy, and the part of the past that it is tried on."""

    policy: PolicyBody = PolicyBody()
    begin: str = Field(
        alias="from",
        max_length=LONGEST,
        description=f"beginning of the simulated time: {TIMES}",
        json_schema_extra=LIKE_A_TIME,
    )
    end: str | None = Field(
        None,
        alias="to",
        max_length=LONGEST,
        description="end of the simulated time; now, unless given",
        json_schema_extra=LIKE_A_TIME,
    )
    limit: int = Field(1000, ge=1, le=MOST, description="most requests to simulate; next says where to continue")


@router.post(
    "/scheduler/simulate",
    openapi_extra=needs("scheduler:simulate"),
    summary="Try a policy on the past",
    responses=describe.answers(200, Simulation, examples.SIMULATION, 409, 422, 429),
)
async def simulate(
    services: ServicesDep, body: Annotated[SimulateBody, Body(examples=[examples.SIMULATE])]
) -> Response:
    """The answer compares placements under the given policy with the actual ones. Nothing is changed. Only one
    simulation runs at a time."""
    question = await _question(services, body)
    found = await replayed(services, services.replays.simulate(question))
    return Response(orjson.dumps(_document(question, found)), media_type=JSON)


async def _question(services: Services, body: SimulateBody) -> Question:
    since = time(services, "from", body.begin)
    until = time(services, "to", body.end) if body.end is not None else services.clock()
    if since >= until:
        raise Invalid(field="from", value=since.isoformat(), allowed=f"it must be before to, {until.isoformat()}")
    policy = body.policy
    ratios = own_ratios(services)
    page = await services.store.page("flavors", Query(where=(Condition("deleted", "=", False),), limit=MOST_FLAVORS))
    flavors = [orjson.loads(doc) for doc in page.docs]
    return Question(
        policy=wished(policy.filters, policy.weights),
        ratios=ratios.but(**policy.ratios.model_dump(exclude_none=True)),
        own=DEFAULT,
        own_ratios=ratios,
        since=since,
        until=until,
        most=body.limit,
        sizes=tuple(Size(each["name"], each["core"], each["memory"]) for each in flavors),
    )


def _document(question: Question, found: Simulated) -> dict[str, Any]:
    hosts = sorted(found.hosts, key=_difference, reverse=True)
    return {
        "policy": _policy(question.policy, question.ratios),
        "from": question.since,
        "to": found.reached,
        "next": found.next,
        "requests": len(found.decided),
        "moved": sum(count for *_, count in found.moves),
        "was": _load(found.was, question.own_ratios, sum(bool(each.was) for each in found.decided)),
        "would": _load(found.would, question.ratios, sum(bool(each.would) for each in found.decided)),
        "reproduced": {
            "same": len(found.decided) + found.unknown - found.unlike.total(),
            "differ": found.unlike.total(),
            "unknown": found.unknown,
            "why": [{"why": why, "count": count} for why, count in found.unlike.most_common()],
        },
        "moves": [
            {"was": found.names.get(was), "would": found.names.get(would), "count": count}
            for was, would, count in found.moves[:MOST_MOVES]
        ],
        "more_moves": max(0, len(found.moves) - MOST_MOVES),
        "hosts": [_host(each) for each in hosts[:MOST_HOSTS]],
        "more_hosts": max(0, len(hosts) - MOST_HOSTS),
        "placements": [_placement(each, found.names) for each in found.decided],
    }


def _policy(policy: Policy, ratios: Ratios) -> dict[str, Any]:
    return {
        "filters": [each.name for each in policy.filters],
        "weights": {weigher.name: weight for weigher, weight in policy.weighers},
        "ratios": ratios.model_dump(),
    }


def _load(load: FleetLoad, ratios: Ratios, placed: int) -> dict[str, Any]:
    sizes = {name: {"used": load.used[name], "total": load.total[name]} for name in RESOURCES}
    return {
        "hosts": load.hosts,
        "hosts_used": load.hosts_used,
        **with_capacity(sizes, ratios),
        "placed": placed,
        "refused": sum(load.refused.values()),
        "refusals": load.refused,
        "largest_flavor": load.largest or None,
    }


def _difference(host: Filled) -> tuple[int, int, int]:
    return (
        abs(host.was["vcpus"] - host.would["vcpus"]),
        abs(host.was["memory"] - host.would["memory"]),
        host.was["vcpus"],
    )


def _host(host: Filled) -> dict[str, Any]:
    return {"id": host.id, "name": host.name, **host.total, "was": host.was, "would": host.would}


def _placement(each: Decided, names: dict[str, str]) -> dict[str, Any]:
    topic, partition, offset = each.place

    def on(host_id: str) -> dict[str, str] | None:
        return {"id": host_id, "name": names[host_id]} if host_id else None

    return {
        "time": each.time,
        "instance_id": each.instance_id,
        **{name: getattr(each, name) for name in RESOURCES},
        "was": on(each.was),
        "would": on(each.would),
        "why": each.why,
        "place": {"topic": topic, "partition": partition, "offset": offset},
    }
