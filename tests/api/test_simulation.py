"""A policy is tried on the past, over the API: bounded, paged by moments, and refused in clear words."""

from typing import Any

import pytest

from domain.core.messages import Topic
from domain.scheduling.scores import Look, Scored
from domain.scheduling.simulation import Question, Simulated
from projections.history.replay import ReplayBusy, ReplayOverdue
from tests.api.api import Api

PACKING = {"weights": {"free-memory": -1.0}}
PATH = "/scheduler/simulate"
LONG_AGO = "2020-01-01"


async def booted(api: Api, count: int) -> list[str]:
    """Names of the hosts that these went to, two being there."""
    await api.world.host("h2")
    hosts = [(await api.booted(f"i{number}"))["host"]["name"] for number in range(count)]
    assert set(hosts) == {"h1", "h2"}
    return hosts


async def test_by_the_policy_there_is_all_is_as_it_was(api: Api) -> None:
    hosts = await booted(api, 4)
    await api.post("/flavors", {"name": "huge", "core": 200, "memory": 1 << 30})
    await api.ended((await api.boot("big", flavor="huge"))["task_id"])
    found = await api.post(PATH, {"from": LONG_AGO}, 200)
    assert [each["was"] and each["was"]["name"] for each in found["placements"]] == [*hosts, None]
    assert [each["was"] for each in found["placements"]] == [each["would"] for each in found["placements"]]
    assert found["reproduced"] == {"same": 5, "differ": 0, "unknown": 0, "why": []}
    assert (found["requests"], found["moved"], found["next"], found["moves"]) == (5, 0, None, [])
    assert found["was"] == found["would"]
    assert found["was"]["refusals"] == {"vcpu": 1}
    assert found["was"]["vcpus"] == {"used": 4, "total": 32, "capacity": 128}
    assert found["was"]["largest_flavor"] == "small"


async def test_another_policy_is_told_apart_and_changes_nothing(api: Api) -> None:
    hosts = await booted(api, 4)
    before = len(api.world.log.all(Topic.EVENTS))
    found = await api.post(PATH, {"policy": PACKING, "from": LONG_AGO}, 200)
    assert [each["would"]["name"] for each in found["placements"]] == ["h1"] * 4
    assert found["moves"] == [{"was": "h2", "would": "h1", "count": hosts.count("h2")}]
    assert (found["was"]["hosts_used"], found["would"]["hosts_used"]) == (2, 1)
    assert {each["name"]: each["would"]["instances"] for each in found["hosts"]} == {"h1": 4, "h2": 0}
    assert found["policy"]["weights"] == {"free-memory": -1.0}
    assert found["policy"]["ratios"] == {"vcpus": 4.0, "memory": 1.0, "disk": 1.0}
    assert len(api.world.log.all(Topic.EVENTS)) == before


async def test_a_window_that_is_too_large_says_where_to_go_on(api: Api) -> None:
    await booted(api, 3)
    whole = (await api.post(PATH, {"from": LONG_AGO}, 200))["placements"]
    begin, seen = LONG_AGO, []
    while begin:
        page = await api.post(PATH, {"from": begin, "limit": 1}, 200)
        seen += page["placements"]
        begin = page["next"]
    assert seen == whole


@pytest.mark.parametrize(
    ("body", "field", "allowed"),
    [
        ({"policy": {"filters": ["vcpu", "gpu"]}}, "policy.filters.1", "enabled-and-up, zone"),
        ({"policy": {"weights": {"luck": 1}}}, "policy.weights", "free-memory, free-vcpu"),
        ({"policy": {"weights": {"free-vcpu": "much"}}}, "policy.weights.free-vcpu", "number"),
        ({"policy": {"ratios": {"vcpus": 0}}}, "policy.ratios.vcpus", "more than 0"),
        ({"policy": {"ratios": {"gpus": 1}}}, "policy.ratios.gpus", "no such field"),
        ({"policy": {"weigths": {}}}, "policy.weigths", "no such field"),
        ({"from": "tomorrow"}, "from", "how long ago"),
        ({"from": "gostack.events/1/2"}, "from", "how long ago (30s"),
        ({"to": "2019-01-01"}, "from", "before to"),
        ({"limit": 10_001}, "limit", "at most 10000"),
        ({"limit": 0}, "limit", "at least 1"),
    ],
)
async def test_what_is_wrong_is_named_with_what_is_allowed(
    empty: Api, body: dict[str, Any], field: str, allowed: str
) -> None:
    told = await empty.post(PATH, {"from": LONG_AGO, **body}, 422)
    assert told["code"] == "invalid"
    whole = f"{told['detail']} {told.get('errors', '')}"
    assert field in whole
    assert allowed in whole


class Refusing:
    """Goes through nothing."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def simulate(self, question: Question) -> Simulated:
        raise self._error

    async def scores(self, look: Look) -> Scored | None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "status", "code"), [(ReplayBusy(), 429, "overloaded"), (ReplayOverdue(), 422, "replay-too-long")]
)
async def test_it_is_bounded(empty: Api, error: Exception, status: int, code: str) -> None:
    empty.services.replays = Refusing(error)
    assert (await empty.post(PATH, {"from": LONG_AGO}, status))["code"] == code


@pytest.mark.parametrize("begin", ["1970-01-01T14:00:00+14:00", "0"])
async def test_a_window_may_begin_and_end_anywhere(api: Api, begin: str) -> None:
    await booted(api, 2)
    assert (await api.post(PATH, {"from": begin, "to": "8999-12-31T10:00:00-14:00"}, 200))["requests"] == 2
    refused = await api.post(PATH, {"from": "0001-01-01T00:00:00+14:00", "to": "9999-12-31T23:59:59-14:00"}, 422)
    assert refused["values"]["field"] == "from"


async def test_a_log_whose_beginning_is_gone_is_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    bounds = await api.world.log.bounds([Topic.EVENTS])

    async def later(topics: Any) -> Any:
        return {each: (min(1, end), end) for each, (_, end) in bounds.items()}

    with monkeypatch.context() as patched:
        patched.setattr(api.world.log, "bounds", later)
        told = await api.post(PATH, {"from": LONG_AGO}, 409)
    assert told["code"] == "past-missing"
    assert "begins at offset 1" in told["detail"]
