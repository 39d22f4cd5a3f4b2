"""An incident is written down through the API and lived through again: the same states, and nothing secret."""

import json
from typing import Any

import orjson
import pytest

from api.resources.hosts import add_capacity
from cli.check import KINDS, TOPICS
from commands.recovery.from_log import ProcessorShare, refill
from domain.aggregates import AGGREGATES
from domain.core.messages import Key, Topic
from domain.instance.actions.lifecycle.delete import DeleteInstance
from domain.tasks.messages import JobError
from tests.api.api import Api
from tests.harness.incident import Incident
from tests.harness.world import World

PASSWORD, USER_DATA = "s3cret-of-the-guest", "#!/bin/sh\necho user-data-of-the-guest"


async def exported(api: Api, **asked: str) -> str:
    answer = await api.http.get("/v1/events/export", params=asked)
    assert answer.status_code == 200, answer.text
    return answer.text


async def lived_again(incident: Incident) -> World:
    """A world that has lived through this, and nothing else."""
    world = World()
    world.now = incident.made
    await world.log.publish(incident.records)
    write_stores = {"engine": world.engine_write_store, "scheduler": world.scheduler_write_store}
    parts = [ProcessorShare(write_store, KINDS[name], TOPICS[name]) for name, write_store in write_stores.items()]
    await refill(world.log, parts, world.segments, world.now)
    await world.start()
    await world.settle()
    return world


def state_of(world: World, key: Key) -> Any:
    """As its events on the log make it."""
    state: Any = None
    for event in world.events(key):
        state = AGGREGATES[key.kind].evolve(state, event, key.id)
    return state


async def test_a_failed_task_is_lived_through_again_from_its_file(api: Api) -> None:
    await api.booted("first")
    api.world.agents.failures["StartGuest"] = JobError(code="job-failed", message="no KVM here")
    given = await api.boot("web", password=PASSWORD, user_data=USER_DATA)
    task = await api.ended(given["task_id"])
    assert task["status"] == "failed"
    text = await exported(api, task=given["task_id"])
    incident = Incident.of(text)
    assert incident.about == {"task": given["task_id"]}
    web = Key("instance", given["id"])
    assert web in incident.subjects
    assert {key.kind for key in incident.subjects} == {"instance", "host", "network"}
    assert [each.id for each in incident.asked_for] == [
        event["id"] for event in (await api.get("/events", task=given["task_id"], limit=1000))["events"]
    ]
    assert incident.states() == {key: state_of(api.world, key) for key in incident.subjects}

    again = await lived_again(incident)
    assert await again.document("instances", given["id"]) == await api.get(f"/instances/{given['id']}")
    assert await again.document("tasks", given["task_id"]) == task
    host = next(key for key in incident.subjects if key.kind == "host")
    here = await api.get(f"/hosts/{host.id}")
    there = add_capacity(api.services, await again.document("hosts", host.id))
    assert {**there, "health": ""} == {**here, "health": ""}
    assert (await again.send(web, DeleteInstance(ignore=True)))["verdict"] == "accepted"


async def test_what_a_deadline_led_to_is_in_the_file_of_the_task(api: Api) -> None:
    api.world.agents.silent.add("StartGuest")
    given = await api.boot("web")
    while (await api.ended(given["task_id"]))["status"] != "failed":
        await api.world.pass_time(700)
    incident = Incident.of(await exported(api, task=given["task_id"]))
    assert {key.kind for key in incident.subjects} == {"instance", "host", "network"}
    assert incident.states() == {key: state_of(api.world, key) for key in incident.subjects}
    (host,) = [key for key in incident.subjects if key.kind == "host"]
    assert incident.states()[host].claims == {}
    told = (await api.get("/events", task=given["task_id"], limit=1000))["events"]
    assert {each["subject"].partition("/")[0] for each in told} == {"instance", "host", "network"}
    assert {(each["actor"], each["project_id"]) for each in told} == {("admin", "admin")}


async def test_the_file_of_a_task_ends_with_it(api: Api) -> None:
    web = await api.booted("web")
    task = (await api.get("/tasks"))["tasks"][0]["id"]
    before = await exported(api, task=task)
    await api.post(f"/instances/{web['id']}/actions/stop", {}, 202)
    await api.booted("other")
    after = await exported(api, task=task)
    assert json.loads(before)["events"] == json.loads(after)["events"]
    assert Incident.of(after).states()[Key("instance", web["id"])].vm_state == "active"


async def test_the_file_of_one_of_several_tasks_leaves_the_other_instances_out(api: Api) -> None:
    given = await api.boot(count=2)
    await api.world.settle()
    one = given["instances"][0]
    incident = Incident.of(await exported(api, task=one["task_id"]))
    instances = [key for key in incident.subjects if key.kind == "instance"]
    assert instances == [Key("instance", one["instance_id"])]
    assert "host" in {key.kind for key in incident.subjects}
    events = (await api.get("/events", task=one["task_id"], limit=1000))["events"]
    assert [each.id for each in incident.asked_for] == [event["id"] for event in events]
    assert {each.task or each.data.task_id for each in incident.asked_for} == {one["task_id"]}  # type: ignore[attr-defined]


async def test_the_file_of_a_thing(api: Api) -> None:
    web = await api.booted("web")
    whole = (await api.get(f"/instances/{web['id']}/history", limit=1000))["events"]
    by_name = json.loads(await exported(api, instance="web"))
    assert by_name["events"] == whole
    by_subject = json.loads(await exported(api, subject=f"instance/{web['id']}"))
    assert by_subject["events"] == whole
    cut = json.loads(await exported(api, instance="web", until=whole[3]["time"]))
    assert cut["events"] == [event for event in whole if event["time"] <= whole[3]["time"]]
    flavor = json.loads(await exported(api, subject=f"flavor/{web['flavor']['id']}"))
    assert [event["data"]["name"] for event in flavor["events"]] == ["small"]


async def test_nothing_secret_is_in_a_file(api: Api) -> None:
    given = await api.boot("web", password=PASSWORD, user_data=USER_DATA)
    await api.ended(given["task_id"])
    for asked in ({"task": given["task_id"]}, {"instance": "web"}):
        text = await exported(api, **asked)
        assert PASSWORD not in text
        assert "user-data-of-the-guest" not in text


@pytest.mark.parametrize(
    ("asked", "status", "says"),
    [
        ({}, 422, "exactly one of"),
        ({"task": "x", "instance": "y"}, 422, "exactly one of"),
        ({"task": "x"}, 404, "no task x"),
        ({"instance": "nothing"}, 404, "no instance nothing"),
        ({"subject": "instance"}, 422, "KIND/ID"),
        ({"subject": "instance/nothing"}, 404, "no instance nothing"),
        ({"instance": "web", "until": "then"}, 422, "how long ago"),
    ],
)
async def test_what_cannot_be_written_down(api: Api, asked: dict[str, str], status: int, says: str) -> None:
    await api.booted("web")
    refused = await api.get("/events/export", status, **asked)
    assert says in refused["detail"]


@pytest.mark.parametrize(("bound", "most"), [("MOST_EVENTS", 10), ("MOST_BYTES", 1 << 10)])
async def test_a_file_is_bounded(api: Api, monkeypatch: pytest.MonkeyPatch, bound: str, most: int) -> None:
    await api.booted("web")
    monkeypatch.setattr(f"api.reads.export.{bound}", most)
    task = (await api.get("/tasks"))["tasks"][0]["id"]
    assert (await api.get("/events/export", 422, task=task))["code"] == "too-large-for-a-file"


@pytest.mark.parametrize("most", [0, 1, 3, 1000])
async def test_a_long_past_stands_in_the_file_as_the_state_it_made(
    api: Api, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr("api.reads.export.MOST_BEFORE", most)
    for number in range(3):
        await api.booted(f"before{number}")
    given = await api.boot("web")
    await api.ended(given["task_id"])
    incident = Incident.of(await exported(api, task=given["task_id"]))
    assert incident.states() == {key: state_of(api.world, key) for key in incident.subjects}
    host = next(key for key in incident.subjects if key.kind == "host")
    assert (host in incident.begins) is (most < 1000)
    own = [each for each in incident.events if each.subject == host]
    asked_for = [each for each in incident.asked_for if each.subject == host]
    assert own[-len(asked_for) :] == asked_for
    if most < 1000:
        assert len(own) == max(most, len(asked_for))


@pytest.mark.parametrize("most", [0, 1, 3])
async def test_a_past_of_any_length_is_read_from_a_milestone_and_the_file_is_the_same(
    empty: Api, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr("projections.projector.MILESTONE_EVENTS", 2)
    monkeypatch.setattr("projections.projector.MILESTONE_BYTES", 1 << 20)
    monkeypatch.setattr("api.reads.export.MOST_BEFORE", most)
    api = empty
    await api.furnish()
    await api.boot(count=20)
    await api.world.settle()
    given = await api.boot("web")
    await api.ended(given["task_id"])
    monkeypatch.setattr("projections.history.time_travel.AT_ONCE", 5)
    monkeypatch.setattr("projections.history.time_travel.MOST_EVENTS", 30)
    found = json.loads(await exported(api, task=given["task_id"]))
    api.world.store._milestones.clear()
    # Of the network alone there are more.
    assert (await api.get("/events/export", 422, task=given["task_id"]))["code"] == "too-many-events"
    monkeypatch.setattr("projections.history.time_travel.MOST_EVENTS", 1000)
    whole = json.loads(await exported(api, task=given["task_id"]))
    assert {**found, "made": ""} == {**whole, "made": ""}


def test_a_file_of_another_format_is_refused() -> None:
    text = orjson.dumps({"format": "gostack-incident", "version": 2, "events": []})
    with pytest.raises(ValueError, match="is not gostack-incident 1"):
        Incident.of(text)


def test_a_file_that_lacks_an_event_is_refused() -> None:
    incident = Incident.kept("boot-failed")
    cut = [each for each in incident.events if each.aggversion != 3]
    with pytest.raises(ValueError, match="version 4 follows 2"):
        Incident(incident.about, incident.made, cut, [], [], {}).states()


async def test_kept_incidents_can_still_be_lived_through() -> None:
    incident = Incident.kept("boot-failed")
    world = await lived_again(incident)
    for key, state in incident.states().items():
        assert state_of(world, key) == state
    assert world.log.all(Topic.EVENTS)
