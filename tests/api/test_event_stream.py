"""Events through the API: pages, and the live feed that resumes exactly."""

import asyncio
import json
import uuid
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from operator import itemgetter
from typing import Any

import pytest

from api.reads import stream_cursor
from api.reads.event_stream import Feed
from cli.gs.sse import parse
from domain.core.event_filter import Interest
from domain.core.messages import FILLER, Record, Topic
from tests.api.api import Api
from tests.harness.nonsense import NONSENSE, TASK, fact
from tests.harness.waiting import until
from tests.harness.world import START


async def test_events_in_pages_with_filters(api: Api) -> None:
    web = await api.booted("web")
    task = (await api.get("/tasks"))["tasks"][0]["id"]
    whole = (await api.get("/events", limit=1000))["events"]
    marker: str | None = None
    paged: list[Any] = []
    while True:
        page = await api.get("/events", limit=7, **({"marker": marker} if marker else {}))
        paged += page["events"]
        if (marker := page["next"]) is None:
            break
    assert paged == whole
    subject = f"instance/{web['id']}"
    own = (await api.get("/events", subject=subject, limit=1000))["events"]
    assert own == [event for event in whole if event["subject"] == subject]
    kind = "gostack.flavor.created.v2"
    assert [event["data"]["name"] for event in (await api.get("/events", type=kind))["events"]] == ["small"]
    of_task = (await api.get("/events", task=task, limit=1000))["events"]
    assert {event["subject"].partition("/")[0] for event in of_task} == {"instance", "host", "network"}
    assert (await api.get("/events", actor="nobody"))["events"] == []
    moment = own[0]["time"]
    assert (await api.get("/events", since=moment, limit=1000))["events"] == [e for e in whole if e["time"] >= moment]
    assert (await api.get("/events", until=moment, limit=1000))["events"] == [e for e in whole if e["time"] <= moment]
    assert (await api.get("/events", since=str(int(api.world.now.timestamp()) + 60)))["events"] == []
    one = await api.get(f"/events/{own[0]['id']}")
    assert one == own[0]
    assert (await api.get("/events/none", 404))["code"] == "not-found"
    assert (await api.get("/events", 422, subject="web"))["code"] == "invalid"
    assert (await api.get("/events", 422, **{"from": "now"}))["code"] == "invalid"


async def test_filters_of_a_list_hold_together(api: Api) -> None:
    web = await api.booted("web")
    other = await api.booted("other")
    whole = (await api.get("/events", limit=1000))["events"]

    async def found(**filters: str) -> list[Any]:
        events: list[Any] = (await api.get("/events", limit=1000, **filters))["events"]
        return events

    assert await found(type="instance.*") == [e for e in whole if e["type"].startswith("gostack.instance.")]
    some = [e for e in whole if e["type"].startswith("gostack.host.") or e["type"] == "gostack.zone.created.v2"]
    assert await found(type="host.*,zone.created.v2") == some
    assert await found(subject=web["id"]) == [e for e in whole if e["subject"] == f"instance/{web['id']}"]
    assert await found(subject=web["id"], type="instance.created.*", actor="admin") == [
        e for e in whole if e["subject"] == f"instance/{web['id']}" and e["type"] == "gostack.instance.created.v6"
    ]
    assert await found(project_id="admin", type="flavor.*") == [e for e in whole if "flavor" in e["type"]]
    assert await found(project_id="none") == []
    task = (await api.get("/tasks", instance="other"))["tasks"][0]["id"]
    of_task = await found(task=task, type="instance.*")
    assert {e["subject"] for e in of_task} == {f"instance/{other['id']}"}
    assert await found(since="1h", until=web["created"]) == [e for e in whole if e["time"] <= web["created"]]
    assert await found(since="0s") == []


async def test_a_page_that_looked_at_as_many_as_it_may_says_how_to_go_on(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.booted("web")
    await api.post("/zones", {"name": "a"}, X_GoStack_Actor="ann")
    await api.world.settle()
    monkeypatch.setattr("api.resources.events.MOST_LOOKED_AT", 5)
    page = await api.get("/events", actor="ann")
    assert page["events"] == []
    pages = 1
    while page["next"] and not page["events"]:
        page = await api.get("/events", actor="ann", marker=page["next"])
        pages += 1
    assert [event["data"]["name"] for event in page["events"]] == ["a"]
    assert pages > 3


BAD = [
    ("type", "a b", "such as instance.*"),
    ("type", "instance.[a]", "such as instance.*"),
    ("type", ",".join("ab"[n % 2] + str(n) for n in range(17)), "16 of them"),
    ("subject", "web", "KIND/ID"),
    ("subject", "x" * 129, "128"),
    ("actor", "a" * 256, "255"),
    ("project_id", "a" * 256, "255"),
    ("task", "a" * 65, "64"),
    ("since", "yesterday", "how long ago"),
    ("since", "10y", "how long ago"),
    ("until", "2026-13-01", "how long ago"),
    ("since", "gostack.events/1/2", "how long ago"),
    ("sinec", "10m", "no such field"),
]


@pytest.mark.parametrize("path", ["/events", "/events/stream"])
@pytest.mark.parametrize(("field", "value", "allowed"), BAD)
async def test_a_bad_filter_is_named_with_what_is_allowed(
    api: Api, path: str, field: str, value: str, allowed: str
) -> None:
    refused = await api.get(path, 422, **{field: value})
    assert refused["code"] == "invalid"
    assert field in refused["detail"]
    assert allowed in refused["detail"]


@pytest.mark.parametrize("path", ["/events", "/events/stream"])
async def test_a_time_that_ends_before_it_begins(api: Api, path: str) -> None:
    refused = await api.get(path, 422, since="10m", until="1h")
    assert refused["values"]["field"] == "until"
    assert "before since" in refused["detail"]


async def test_events_of_one_of_several_tasks(api: Api) -> None:
    given = await api.boot(count=2)
    await api.world.settle()
    one = given["instances"][0]
    of_each = [(await api.get("/events", task=each["task_id"], limit=1000))["events"] for each in given["instances"]]
    events = of_each[0]
    assert events[0]["type"] == "gostack.instance.created.v6"
    assert {event["subject"].partition("/")[0] for event in events} == {"instance", "host", "network"}
    assert {event["task_id"] for event in events} == {one["task_id"]}
    made = [event["data"].get("instance_id", one["instance_id"]) for event in events]
    assert set(made) == {one["instance_id"]}, "what the other's task led to is not its own"
    of_both = (await api.get("/events", task=given["correlation_id"], limit=1000))["events"]
    assert sorted(event["id"] for each in of_each for event in each) == sorted(event["id"] for event in of_both)
    followed = await Follower(api.app.state.feed, "beginning", Interest(task=one["task_id"])).take(len(events))
    assert sorted((each for _, each in followed), key=itemgetter("id")) == sorted(events, key=itemgetter("id"))
    history = (await api.get(f"/tasks/{one['task_id']}/history", limit=1000))["events"]
    exported = await api.get("/events/export", task=one["task_id"])
    assert [event["id"] for event in events] == [event["id"] for event in history] == exported["incident"]


@pytest.mark.parametrize("path", ["/events", "/events/stream", "/jobs"])
async def test_a_task_that_is_none_is_named(api: Api, path: str) -> None:
    await api.booted("web")
    for mistyped in ("none", str(uuid.uuid4())):
        refused = await api.get(path, 404, task=mistyped)
        assert (refused["code"], refused["values"]) == ("not-found", {"kind": "task", "id": mistyped})


async def test_a_task_that_the_read_models_do_not_know_yet_is_waited_for(api: Api) -> None:
    api.world.stopped.add("projector")
    given = await api.boot("web")
    asking = asyncio.create_task(api.get("/events", task=given["task_id"]))
    await asyncio.sleep(0.05)
    assert not asking.done()
    api.world.stopped.clear()
    assert (await asking)["events"][0]["type"] == "gostack.instance.created.v6"


async def test_a_follower_of_a_task_misses_nothing_while_nobody_knows_whether_it_is_one(api: Api) -> None:
    api.world.stopped |= {"projector", "agents"}
    given = await api.boot("web")
    await api.world.settle()
    feed: Feed = api.app.state.feed

    async def go_on() -> None:
        await asyncio.sleep(0.1)
        api.world.stopped.discard("agents")
        await asyncio.sleep(1.0)
        feed.closing = True

    going_on = asyncio.create_task(go_on())
    answer = await api.http.get(f"/v1/events/stream?from=now&task={given['task_id']}")
    await going_on
    assert answer.status_code == 200
    assert "gostack.task.finished.v2" in answer.text
    assert "gostack.instance.created.v6" not in answer.text


class Follower:
    """Reads blocks of the feed."""

    def __init__(self, feed: Feed, since: str, wanted: Interest | None = None) -> None:
        self._feed, self._since, self._wanted = feed, since, wanted or Interest()

    async def take(self, count: int) -> list[tuple[str, dict[str, Any]]]:
        """The next so many events with their ids."""
        found: list[tuple[str, dict[str, Any]]] = []
        blocks = self._feed.follow(await self._feed.start(self._since), self._wanted)
        with self._feed.place():
            async with aclosing(blocks), asyncio.timeout(5):
                async for block in blocks:
                    sent = next(parse(block.decode().split("\n")))
                    if sent.data:
                        found.append((sent.id, json.loads(sent.data)))
                    if len(found) == count:
                        break
        return found


async def test_the_feed_resumes_exactly_from_any_event(api: Api) -> None:
    await api.booted("web")
    feed: Feed = api.app.state.feed
    total = (await api.get("/events", limit=1000))["events"]
    whole = await Follower(feed, "beginning").take(len(total))
    assert sorted(event["id"] for _, event in whole) == sorted(event["id"] for event in total)
    assert sorted((e for _, e in whole), key=lambda e: e["id"]) == sorted(total, key=lambda e: e["id"])
    for cut in range(0, len(whole) - 1, 3):
        rest = await Follower(feed, whole[cut][0]).take(len(whole) - cut - 1)
        seen = {event["id"] for _, event in whole[: cut + 1]}
        assert seen.isdisjoint(event["id"] for _, event in rest)
        assert seen | {event["id"] for _, event in rest} == {event["id"] for event in total}


async def test_the_feed_keeps_each_aggregates_order(api: Api) -> None:
    web = await api.booted("web")
    total = (await api.get("/events", limit=1000))["events"]
    whole = await Follower(api.app.state.feed, "beginning").take(len(total))
    versions = [event["version"] for _, event in whole if event["subject"] == f"instance/{web['id']}"]
    assert versions == list(range(1, web["version"] + 1))
    times = [event["time"] for _, event in whole]
    assert times == sorted(times)


async def test_the_feed_from_now_on_and_its_filters(api: Api) -> None:
    feed: Feed = api.app.state.feed
    wanted = Interest(types=("gostack.zone.created.v2",))
    following = asyncio.create_task(Follower(feed, "now", wanted).take(2))
    await asyncio.sleep(0.05)
    await api.post("/flavors", {"name": "other", "core": 1, "memory": 1 << 30})
    await api.post("/zones", {"name": "a"})
    await api.post("/zones", {"name": "b"}, X_GoStack_Actor="ann")
    assert [event["data"]["name"] for _, event in await following] == ["a", "b"]
    by_ann = await Follower(feed, "beginning", Interest(actor="ann")).take(1)
    assert by_ann[0][1]["data"]["name"] == "b"


async def test_the_feed_from_a_time_on_starts_there_and_not_at_the_beginning(api: Api) -> None:
    await api.booted("old")
    feed: Feed = api.app.state.feed
    before = await feed.start("now")
    api.world.now += timedelta(minutes=10)
    moment = api.world.now
    await api.post("/zones", {"name": "new"})
    assert await feed.start("", moment) == before
    assert await feed.start("beginning", moment) == [0] * len(before)
    found = await Follower(feed, "beginning", Interest(since=moment)).take(1)
    assert found[0][1]["data"]["name"] == "new"
    found = await Follower(feed, "beginning", Interest(task=found[0][1]["correlation_id"])).take(1)
    assert found[0][1]["data"]["name"] == "new"


async def test_the_feed_up_to_a_time_ends_there(api: Api) -> None:
    await api.post("/zones", {"name": "a"})
    await api.world.settle()
    until = api.world.now
    api.world.now += timedelta(minutes=2)
    await api.post("/zones", {"name": "b"})
    until_word = until.isoformat().replace("+00:00", "Z")
    query = {"from": "beginning", "type": "zone.*", "until": until_word}
    answer = await api.http.get("/v1/events/stream", params=query)
    sent = list(parse(answer.text.splitlines()))
    assert [json.loads(each.data)["data"]["name"] for each in sent if each.data and each.kind != "end"] == [
        "default",
        "a",
    ]
    assert sent[-1].kind == "end"
    resumed = await api.http.get("/v1/events/stream", params=query, headers={"Last-Event-ID": sent[-1].id})
    assert [each.kind for each in parse(resumed.text.splitlines()) if each.data] == ["end"]


async def test_a_quiet_feed_says_where_it_is(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.reads.event_stream.KEEP_ALIVE", 0.0)
    feed: Feed = api.app.state.feed
    end = stream_cursor.encode(await feed.start("now"))
    blocks = feed.follow(await feed.start("beginning"), Interest(types=("none",)))
    async with aclosing(blocks), asyncio.timeout(5):
        first = await anext(blocks)
        later = await anext(blocks)
    assert first != later == f"id: {end}\n: keep-alive\n\n".encode()


async def test_the_feed_over_http(api: Api) -> None:
    feed: Feed = api.app.state.feed

    async def stop_soon() -> None:
        await asyncio.sleep(0.2)
        feed.closing = True

    asked: tuple[tuple[str, dict[str, str]], ...] = (
        ("/v1/events/stream?from=beginning&type=gostack.zone.created.v2", {}),
        ("/v1/events?from=beginning&type=gostack.zone.created.v2", {"Accept": "text/event-stream"}),
        ("/v1/events/stream?type=gostack.zone.created.v2", {"Last-Event-ID": stream_cursor.encode([0] * 12)}),
    )
    stopping = asyncio.create_task(stop_soon())
    answers = await asyncio.gather(*(api.http.get(path, headers=headers) for path, headers in asked))
    await stopping
    for answer in answers:
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        data = [line for line in answer.text.splitlines() if line.startswith("data: ")]
        assert [json.loads(line.removeprefix("data: "))["data"]["name"] for line in data] == ["default"]


@pytest.mark.parametrize("since", ["x", "!!!", "AA", stream_cursor.encode([10**9] * 12), "A" * 4000])
async def test_a_place_that_is_none(api: Api, since: str) -> None:
    refused = await api.get("/events/stream", 422, **{"from": since})
    assert refused["code"] == "invalid"


async def test_of_followers_that_come_together_no_more_than_the_bound_get_in(api: Api) -> None:
    feed: Feed = api.app.state.feed
    feed.followers.most = 3

    asking = [asyncio.create_task(api.http.get("/v1/events/stream")) for _ in range(10)]
    await until(lambda: sum(task.done() for task in asking) == 7)
    assert feed.followers.now == 3
    feed.closing = True
    answers = await asyncio.gather(*asking)
    assert sorted(each.status_code for each in answers) == [200] * 3 + [429] * 7
    assert {each.json()["code"] for each in answers if each.status_code == 429} == {"overloaded"}


async def test_a_follower_that_is_refused_leaves_its_place(api: Api) -> None:
    feed: Feed = api.app.state.feed
    feed.followers.most = 1
    for _ in range(3):
        await api.get("/events/stream", 422, **{"from": "no place"})
    assert feed.followers.now == 0


@pytest.mark.parametrize("offsets", [[], [0], [0, 127, 128, 300, 2**40], [5] * 12])
def test_positions_are_words_and_back(offsets: list[int]) -> None:
    assert stream_cursor.decode(stream_cursor.encode(offsets)) == offsets


async def test_fillers_of_a_restored_log_are_no_events(api: Api) -> None:
    everywhere = await api.world.log.bounds([Topic.EVENTS])
    filler = ((FILLER, b"1"),)
    await api.world.log.publish([Record(each.topic, b"", b"", filler, each.partition) for each in everywhere])
    await api.booted("web")
    found = await Follower(api.app.state.feed, "beginning").take(5)
    assert all(event["id"] for _, event in found)
    assert (await api.get("/projections"))["projections"][0]["lag"] == 0


HUGE = replace(fact(str(uuid.uuid4())), headers=(*fact(str(uuid.uuid4())).headers, ("ce_aggversion", b"9" * 30)))
WANTED = (Interest(), Interest(task=TASK), Interest(since=START), Interest(subject="zone/z"), Interest(actor="system"))


@pytest.mark.parametrize("nonsense", [*NONSENSE.values(), HUGE], ids=[*NONSENSE, "a version that is too large"])
async def test_the_feed_passes_over_what_cannot_be_read(empty: Api, nonsense: Record) -> None:
    empty.world.stopped.add("projector")
    feed: Feed = empty.app.state.feed
    begin = stream_cursor.encode(await feed.start("now"))
    facts = [fact(str(uuid.uuid4())) for _ in range(12)]
    for partition, each in enumerate(facts):
        await empty.world.log.publish([replace(nonsense, partition=partition), replace(each, partition=partition)])
    ids = {dict(each.headers)["ce_id"].decode() for each in facts}
    for wanted in WANTED:
        found = await Follower(feed, begin, wanted).take(len(facts))
        assert {event["id"] for _, event in found} == ids, wanted
        assert [event["id"] for _, event in await Follower(feed, found[0][0], wanted).take(11)] == [
            event["id"] for _, event in found[1:]
        ]


async def test_an_event_whose_data_has_several_lines_comes_whole(empty: Api) -> None:
    feed: Feed = empty.app.state.feed
    begin = stream_cursor.encode(await feed.start("now"))
    await empty.world.log.publish([replace(fact(TASK), value=b'{\r\n "command": "c",\r "message":\n\n"m"\n}')])
    ((_, event),) = await Follower(feed, begin).take(1)
    assert (event["id"], event["data"]) == (TASK, {"command": "c", "message": "m"})
