"""What was accepted and is not done is bounded: past the bounds new work is answered 429, and what ends work passes."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.writes.admission import LONGEST_WAIT, MEMORY, SHORTEST_WAIT, UNKNOWN_WAIT, Meter
from domain.aggregates import AGGREGATES
from domain.core.messages import MESSAGES, Command, Topic
from infra.process.metrics import REGISTRY
from tests.api.api import Api, serving

BODY = {"flavor": "small", "image": "tiny"}


@pytest.fixture(autouse=True)
def _looks_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what is counted twice for a moment would depend on the moment."""
    monkeypatch.setattr("api.writes.admission.EVERY", 1e6)


async def look(api: Api) -> None:
    """Twice: what was let in before the first may be counted until the second."""
    for _ in range(2):
        await api.services.admission.look()


async def limit(api: Api, **limits: int) -> None:
    """Other bounds from now on, with nothing that is done already counted."""
    await api.world.settle()
    await look(api)
    api.services.settings.api = api.services.settings.api.model_copy(update={"verdict_timeout": 0.05, **limits})


def refused(bound: str) -> float:
    return REGISTRY.get_sample_value("gostack_api_overloads_total", {"bound": bound}) or 0.0


async def boot(api: Api, name: str, **headers: str) -> httpx.Response:
    return await api.http.post("/v1/instances", json={"name": name, **BODY}, headers=headers)


def problem(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 429, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert SHORTEST_WAIT <= int(answer.headers["Retry-After"]) <= LONGEST_WAIT
    told: dict[str, Any] = answer.json()
    assert told["code"] == "overloaded"
    assert told["values"]["retry_after"] == answer.headers["Retry-After"]
    return told


async def test_past_the_backlog_new_work_is_refused_and_what_ends_work_passes(api: Api) -> None:
    there = await api.booted("there")
    api.world.stopped.add("agents")
    task = await api.boot("stuck")
    await limit(api, max_waiting=3)
    api.world.stopped.add("engine")
    before = refused("engine")
    answers = [await boot(api, f"b{number}") for number in range(6)]
    assert [each.status_code for each in answers[:2]] == [202, 202]
    told = problem(answers[-1])
    assert told["values"]["bound"] == "api.max_waiting"
    assert told["detail"] == f"The service is overloaded: {told['values']['now']} records wait for the engine; " + (
        "api.max_waiting allows 3."
    )
    assert refused("engine") > before
    await look(api)
    now = api.services.admission._meters["engine"].now
    assert now >= 3
    assert REGISTRY.get_sample_value("gostack_api_load", {"bound": "engine"}) == now
    assert problem(await api.http.post("/v1/flavors", json={"name": "f", "core": 1, "memory": 1 << 30}))
    assert problem(await api.http.post(f"/v1/instances/{there['id']}/actions/stop"))
    # The operator's way out.
    await api.get(f"/instances/{there['id']}")
    await api.delete(f"/instances/{there['id']}", 202)
    await api.post(f"/tasks/{task['task_id']}/cancel", status=202)
    api.world.stopped.clear()
    await api.world.settle()
    await look(api)
    assert (await boot(api, "after")).status_code == 202


async def test_even_what_ends_work_is_bounded(api: Api) -> None:
    there = await api.booted("there")
    await limit(api, max_waiting=2)
    api.world.stopped.add("engine")
    answers = [await api.http.delete(f"/v1/instances/{there['id']}") for _ in range(6)]
    assert [each.status_code for each in answers[:3]] == [202, 202, 202]
    assert problem(answers[-1])["values"]["most"] == "4"


async def test_hosts_can_be_disabled_whatever_waits(api: Api) -> None:
    await limit(api, max_waiting=1)
    api.world.stopped.add("scheduler")
    await api.post("/zones", {"name": "z1"}, 202)
    problem(await api.http.post("/v1/zones", json={"name": "z2"}))
    assert problem(await boot(api, "x"))["values"]["what"] == "records wait for the scheduler"
    await api.post("/hosts/h1/actions/disable", {"reason": "too much"}, 202)


async def test_tasks_that_are_under_way_are_bounded(api: Api) -> None:
    api.world.stopped.add("agents")
    await limit(api, max_tasks=3)
    answers = [await boot(api, f"b{number}") for number in range(5)]
    assert [each.status_code for each in answers] == [202, 202, 202, 429, 429]
    await api.world.settle()
    await look(api)
    told = problem(await boot(api, "more"))
    assert (told["values"]["bound"], told["values"]["now"]) == ("api.max_tasks", "3")
    # What makes no task is not refused for it.
    await api.post("/flavors", {"name": "f", "core": 1, "memory": 1 << 30})
    ended = answers[0].json()
    await api.post(f"/tasks/{ended['task_id']}/cancel", status=200)
    await api.delete(f"/instances/{answers[1].json()['id']}?hard=true", 202)


async def test_one_project_does_not_take_all_there_is(api: Api) -> None:
    api.world.stopped.add("agents")
    await api.post("/networks", {"name": "lan2", "cidr": "10.2.0.0/24"}, X_GoStack_Project="b")
    await limit(api, max_project_tasks=2)
    headers = {"X-GoStack-Project": "b"}
    answers = [
        await api.http.post("/v1/instances", json={"name": f"b{n}", **BODY, "network": "lan2"}, headers=headers)
        for n in range(3)
    ]
    assert [each.status_code for each in answers] == [202, 202, 429]
    assert problem(answers[-1])["values"]["bound"] == "api.max_project_tasks"
    await api.boot("mine", network="lan")


async def test_a_request_that_was_answered_before_is_answered_again_whatever_there_is(api: Api) -> None:
    first = await boot(api, "once", **{"Idempotency-Key": "k1"})
    assert first.status_code == 202
    await api.world.settle()
    await limit(api, max_tasks=1, max_waiting=1)
    api.world.stopped |= {"agents", "engine"}
    await boot(api, "other")
    problem(await boot(api, "another"))
    again = await boot(api, "once", **{"Idempotency-Key": "k1"})
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])


async def test_a_key_that_was_refused_for_the_load_is_as_new(tmp_path: Path) -> None:
    async with serving(tmp_path, max_tasks=1) as api:
        await api.furnish()
        api.world.stopped.add("agents")
        one = await api.boot("one")
        key = {"Idempotency-Key": "k2"}
        problem(await boot(api, "two", **key))
        api.world.stopped.clear()
        await api.ended(one["task_id"])
        await look(api)
        given = await boot(api, "two", **key)
        assert given.status_code == 202
        sent = [record for record in api.world.log.all(Topic.COMMANDS) if b'"name":"two"' in record.value]
        assert len(sent) == 1


async def test_what_was_seen_last_holds_while_the_log_is_away(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from infra.log.log import LogUnavailable

    async def away(*_: object) -> None:
        raise LogUnavailable("away")

    monkeypatch.setattr("api.writes.admission.EVERY", 0.001)
    monkeypatch.setattr(api.world.log, "bounds", away)
    looking = asyncio.create_task(api.services.admission.run())
    await asyncio.sleep(0.02)
    assert not looking.done()
    looking.cancel()


# How long to wait


def meter(*looks: tuple[int, int]) -> Meter:
    """After looks, a second apart, that saw so much there and so much done."""
    made = Meter()
    for now, done in looks:
        made.seen(now, done, 1.0, 0)
    return made


def test_the_wait_is_what_the_excess_takes_at_the_measured_rate() -> None:
    assert meter((1000, 0), (1000, 100)).wait(1, 801) == 2
    assert meter((1000, 0), (1000, 100)).wait(1, 1000) == SHORTEST_WAIT


def test_nothing_done_is_the_longest_wait_and_nothing_measured_a_short_one() -> None:
    assert Meter(now=10).wait(1, 10) == UNKNOWN_WAIT
    assert meter((10, 0), (10, 0)).wait(1, 10) == LONGEST_WAIT
    stopped = meter((1000, 0), (1000, 100), *[(1000, 0)] * 40)
    assert stopped.wait(1, 900) == LONGEST_WAIT


def test_an_idle_time_says_nothing_of_the_rate() -> None:
    assert meter((1000, 0), (1000, 100), (0, 1000), *[(0, 0)] * 50).rate == 100 + (1000 - 100) * MEMORY


def test_those_who_are_turned_away_are_asked_to_come_back_one_after_another() -> None:
    busy = meter((100, 0), (100, 10))
    waits = [busy.wait(10, 100) for _ in range(10)]
    assert waits == sorted(waits)
    assert (waits[0], waits[4]) == (1, 5)
    assert max(meter((100, 0), (100, 10)).wait(10, 100) for _ in range(1000)) <= LONGEST_WAIT
    for _ in range(1000):
        busy.wait(10, 100)
    busy.seen(100, 10, 1.0, 0)
    assert busy.turned <= (busy.rate or 0) * LONGEST_WAIT
    for _ in range(200):
        busy.seen(50, 10, 1.0, 0)
    assert busy.turned == 0


def test_what_was_let_in_counts_until_it_is_seen() -> None:
    made = Meter()
    made.begun = 5
    assert made.there == 5
    made.begun += 2
    made.seen(0, 0, 1.0, 5)
    assert made.there == 7, "those let in just before a look may not be seen by it"
    made.seen(7, 0, 1.0, 2)
    assert made.there == 9
    made.seen(7, 0, 1.0, 0)
    assert made.there == 7


def test_what_relieves_is_what_ends_work_and_nothing_that_makes_it() -> None:
    relieving = {cls.__name__ for cls in MESSAGES.values() if issubclass(cls, Command) and cls.relieves}
    deletes = {kind.delete.__name__ for kind in AGGREGATES.values() if kind.delete}
    assert relieving == deletes | {
        *("DeleteInstance", "HardDeleteInstance", "ResetInstance", "CancelTask", "ReleaseAggregate"),
        *("DeletePort", "DisableWebhook", "DisassociateFloatingIp", "ActivateImage", "FailImage"),
        *("RegisterHost", "EnableHost", "DisableHost", "AssignZone", "SuspectHost", "HearHost"),
    }
