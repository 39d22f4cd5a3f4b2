"""Any moment again: shown as it was, compared with another, refused where there was nothing."""

import uuid
from dataclasses import replace
from typing import Any

import pytest

from domain.core.messages import Envelope, Key, Topic, derived_id, to_record
from domain.host.messages import SuspectHost
from domain.parking import AggregateParked
from domain.tasks.messages import JobError
from projections.history.causality import explain
from projections.history.time_travel import Folds
from projections.store.memory import MemoryStore
from projections.views.view import Row, View
from tests.api.api import Api
from tests.projections.test_projector import project


async def place(api: Api, path: str, index: int) -> str:
    """Of an event of a history."""
    at = (await api.get(f"{path}/history", limit=1000))["events"][index]["place"]
    return f"{at['topic']}/{at['partition']}/{at['offset']}"


async def test_the_last_event_is_the_present(api: Api) -> None:
    instance = await api.booted("web")
    (task,) = (await api.get("/tasks", instance=instance["id"]))["tasks"]
    for path in ("/instances/web", "/hosts/h1", "/networks/lan"):
        now = await api.get(path)
        assert await api.get(path, at=await place(api, path, -1)) == now
        assert await api.get(path, at="2999-01-01T00:00:00Z") == now
    at = await place(api, "/instances/web", -1)
    assert await api.get(f"/tasks/{task['id']}", at=at) == await api.get(f"/tasks/{task['id']}")
    assert await api.get("/instances/web", at=at, fields="status") == {"status": "active"}


async def test_what_was_before(api: Api) -> None:
    await api.booted("web")
    first = await api.get("/instances/web", at=await place(api, "/instances/web", 0))
    assert (first["status"], first["version"], first["host"]) == ("building", 1, None)
    assert (await api.get("/hosts/h1", at=await place(api, "/hosts/h1", 0)))["instances"] == 0
    assert (await api.get("/networks/lan", at=await place(api, "/networks/lan", 0)))["ports"] == 0


async def test_a_task_has_a_history_across_subjects(api: Api) -> None:
    instance = await api.booted("web")
    (task,) = (await api.get("/tasks", instance=instance["id"]))["tasks"]
    events = (await api.get(f"/tasks/{task['id']}/history", limit=1000))["events"]
    assert {event["subject"].partition("/")[0] for event in events} == {"instance", "host", "network"}
    page = await api.get(f"/tasks/{task['id']}/history", limit=2)
    assert (page["events"], page["next"]) == (events[:2], events[1]["id"])


@pytest.mark.parametrize("at", ["2001-01-01T00:00:00Z", "978307200", "9000d"])
async def test_before_it_was_there(api: Api, at: str) -> None:
    instance = await api.booted("web")
    problem = await api.get("/instances/web", 404, at=at)
    assert problem["code"] == "not-there-then"
    assert problem["values"] == {"kind": "instance", "id": instance["id"], "at": at}


async def test_a_place_in_another_partition_is_neither_before_nor_after(api: Api) -> None:
    topic, partition, offset = (await place(api, "/networks/lan", 0)).split("/")
    problem = await api.get("/networks/lan", 422, at=f"{topic}/{int(partition) + 1}/{offset}")
    assert f"{topic}/{partition}" in problem["detail"]


@pytest.mark.parametrize("at", ["yesterday", "10x", "gostack.jobs/1/1", "gostack.events/1", "", "1e9"])
async def test_what_is_no_moment_is_told_with_the_formats(api: Api, at: str) -> None:
    problem = await api.get("/networks/lan", 422, at=at)
    assert problem["code"] == "invalid"
    assert problem["values"]["field"] == "at"
    assert "topic" in problem["detail"] or "PARTITION/OFFSET" in problem["detail"]
    assert (await api.get("/networks/lan/diff", 422, **{"from": at}))["values"]["field"] == "from"
    assert (await api.get("/networks/lan/diff", 422, **{"from": "2999-01-01", "to": at}))["values"]["field"] == "to"


async def test_a_difference_between_two_moments(api: Api) -> None:
    await api.booted("web")
    begin, end = await place(api, "/instances/web", 0), await place(api, "/instances/web", -1)
    found = await api.get("/instances/web/diff", **{"from": begin, "to": end})
    changes: dict[str, Any] = {each["field"]: (each["old"], each["new"]) for each in found["changes"]}
    assert changes["status"] == ("building", "active")
    assert changes["addresses"] == ([], ["10.0.0.2"])
    assert "name" not in changes
    assert (found["from"], found["to"]["at"]) == ({"at": begin, "version": 1}, end)
    assert (await api.get("/instances/web/diff", **{"from": begin}))["changes"] == found["changes"]
    assert (await api.get("/instances/web/diff", **{"from": end}))["changes"] == []
    used = await api.get("/hosts/h1/diff", **{"from": await place(api, "/hosts/h1", 0)})
    assert {"field": "vcpus.used", "old": 0, "new": 1} in used["changes"]
    assert (await api.get("/instances/web/diff", 404, **{"from": "9000d"}))["code"] == "not-there-then"
    assert (await api.get("/instances/web/diff", 422))["errors"][0]["field"] == "from"


async def test_why_it_is_as_it_is(api: Api) -> None:
    instance = await api.booted("web")
    found = await api.get("/instances/web/why")
    assert (found["id"], found["cut"]) == (instance["id"], False)
    assert {each["subject"].partition("/")[0] for each in found["steps"]} == {"instance", "host", "network"}
    assert found["steps"][-1]["says"] == "boot is finished: the instance is active."
    ids = {each["id"] for each in found["steps"]}
    assert all(edge["from"] in ids and edge["to"] in ids for edge in found["edges"])
    led_to = {edge["to"] for edge in found["edges"]}
    first = [each for each in found["steps"] if each["id"] not in led_to]
    assert {each["causation_id"] for each in first} == {found["steps"][0]["correlation_id"]}
    assert (await api.get("/instances/none/why", 404))["code"] == "not-found"


async def test_why_a_host_is_as_it_is(api: Api) -> None:
    await api.booted("web")
    for reason, who in (("its fan", "ann"), ("its disk", "bob")):
        await api.post("/hosts/h1/actions/enable", {}, 200, X_GoStack_Actor=who)
        await api.post("/hosts/h1/actions/disable", {"reason": reason}, 200, X_GoStack_Actor=who)
    await api.post("/zones", {"name": "east"})
    host = await api.post("/zones/east/hosts", {"host": "h1"}, 200, X_GoStack_Actor="eve")
    await api.world.send(Key("host", host["id"]), SuspectHost())
    await api.world.settle()
    found = await api.get("/hosts/h1/why")
    assert (found["id"], found["cut"]) == (host["id"], False)
    assert [each["says"] for each in found["steps"]] == [
        "Its agent registered it as h1, in zone default of cell default.",
        "bob disabled it (its disk): no new instances are placed on it.",
        "eve put it into zone east.",
        "Its heartbeats are missing: it is suspect, and no new instances are placed on it.",
    ]
    assert {each["subject"] for each in found["steps"]} == {f"host/{host['id']}"}
    await api.post("/hosts/h1/actions/enable", {}, 200, X_GoStack_Actor="ann")
    await api.world.host("h1")
    says = [each["says"] for each in (await api.get("/hosts/h1/why"))["steps"]]
    assert says == [
        "Its agent registered it as h1, in zone default of cell default.",
        "eve put it into zone east.",
        "ann enabled it: new instances may be placed on it.",
        "Its agent registered it as h1, in zone east of cell default (epoch 2).",
    ], "only what still holds"


async def test_why_a_network_is_as_it_is(api: Api) -> None:
    made = await api.post("/networks", {"name": "back", "cidr": "10.9.0.0/24"}, X_GoStack_Actor="ann")
    await api.booted("web", network="back")
    asked = "ann asked for network back (10.9.0.0/24), and it exists from now on."
    gateway = "The network's gateway has the address 10.9.0.1 on every host."
    assert [each["says"] for each in (await api.get("/networks/back/why"))["steps"]] == [asked, gateway]
    await api.delete("/instances/web?hard=true", 202)
    await api.world.settle()
    await api.delete("/networks/back", 200, X_GoStack_Actor="bob")
    says = [each["says"] for each in (await api.get(f"/networks/{made['id']}/why"))["steps"]]
    assert says == [asked, gateway, "bob deleted it."]
    assert (await api.get("/networks/none/why", 404))["code"] == "not-found"


@pytest.mark.parametrize("count", [1, 3])
async def test_why_a_task_is_as_it_is(api: Api, count: int) -> None:
    api.world.agents.failures["StartGuest"] = JobError(code="job-failed", message="no KVM here")
    given = await api.boot("web", count=count, headers={"X-GoStack-Actor": "ann"})
    await api.world.settle()
    one = given["instances"][-1]
    found = await api.get(f"/tasks/{one['task_id']}/why")
    assert (found["id"], found["cut"]) == (one["task_id"], False)
    says = [each["says"] for each in found["steps"]]
    assert says[0] == f"ann asked for instance {one['name']}, and it exists from now on."
    assert says[1].startswith("boot, asked for by ann, was accepted; its steps are Place, ")
    told = iter(says)
    for part in ("chose this host", "took the address", "StartGuest failed: no KVM here", "undone.", "are free again"):
        assert any(part in each for each in told), part
    assert says[-1].startswith("boot failed: no KVM here")
    assert found == (await api.get(f"/instances/{one['instance_id']}/why")) | {"id": one["task_id"]}


async def test_why_a_task_tells_of_it_alone_and_of_what_ended_it(api: Api) -> None:
    api.world.stopped.add("agents")
    boot = await api.boot("web", headers={"X-GoStack-Actor": "ann"})
    await api.world.settle()
    await api.delete("/instances/web", 202, X_GoStack_Actor="bob")
    api.world.stopped.clear()
    await api.world.settle()
    says = [each["says"] for each in (await api.get(f"/tasks/{boot['task_id']}/why"))["steps"]]
    assert "bob (delete) wants the task stopped and undone." in says
    assert says[-1].startswith("boot was cancelled")
    assert not any(each.startswith("delete") for each in says)
    (delete,) = (await api.get("/tasks", action="delete"))["tasks"]
    says = [each["says"] for each in (await api.get(f"/tasks/{delete['id']}/why"))["steps"]]
    assert says[0].startswith("delete, asked for by bob, was accepted")
    assert says[-1].startswith("delete is finished")
    assert not any(each.startswith("boot") for each in says)


async def test_a_difference_of_a_task_between_two_moments(api: Api) -> None:
    instance = await api.booted("web")
    (task,) = (await api.get("/tasks", instance=instance["id"]))["tasks"]
    path = f"/tasks/{task['id']}"
    accepted = await place(api, "/instances/web", 1)
    found = await api.get(f"{path}/diff", **{"from": accepted, "to": await place(api, "/instances/web", -1)})
    changes: dict[str, Any] = {each["field"]: (each["old"], each["new"]) for each in found["changes"]}
    assert changes["status"] == ("running", "finished")
    assert changes["steps_done"] == (0, len(task["steps"]))
    assert (await api.get(f"{path}/diff", **{"from": accepted}))["changes"] == found["changes"]
    created = await place(api, "/instances/web", 0)
    problem = await api.get(f"{path}/diff", 404, **{"from": created})
    assert problem["values"] == {"kind": "task", "id": task["id"], "at": created}


async def test_why_tells_that_it_is_parked_and_what_to_do(api: Api) -> None:
    web = await api.parked("web")
    (parked,) = (await api.get("/parked"))["parked"]
    *_, says, refused = [each["says"] for each in (await api.get("/instances/web/why"))["steps"]]
    assert parked["place"].startswith("gostack.commands:")
    assert parked["place"] in says
    assert "ZeroDivisionError: boom" in says
    assert f"gs instance release {web['id']}" in says
    assert refused.startswith("admin's stop was refused: ")
    await api.post(f"/parked/instance/{web['id']}/release", {}, 200, X_GoStack_Actor="ann")
    await api.world.settle()
    steps = (await api.get("/instances/web/why"))["steps"]
    assert steps[-1]["says"] == "ann released it: it takes commands again."
    assert steps[0]["says"].startswith("admin asked for instance web")


@pytest.mark.parametrize("kind", ["host", "network"])
async def test_why_a_host_or_a_network_tells_that_it_is_parked(api: Api, kind: str) -> None:
    (thing,) = (await api.get(f"/{kind}s"))[f"{kind}s"]
    key, command = Key(kind, thing["id"]), str(uuid.UUID(int=1))
    parked = AggregateParked(why="boom", place="gostack.commands:3:41")
    about = Envelope(derived_id(command, 0), parked, key, api.world.clock(), "test", command, command)
    await api.world.log.publish([to_record(about, Topic.EVENTS)])
    await api.world.settle()
    says = [each["says"] for each in (await api.get(f"/{kind}s/{thing['name']}/why"))["steps"]]
    assert len(says) == {"host": 2, "network": 3}[kind]
    assert "gostack.commands:3:41 could not be applied (boom)" in says[-1]
    assert f"gs {kind} release {thing['id']}" in says[-1]


async def test_why_one_of_many_is_told_whole_and_of_it_alone(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("projections.history.causality.AT_ONCE", 7)
    monkeypatch.setattr("projections.history.causality.MOST_READ", 30)
    given = await api.boot(count=3)
    await api.world.settle()
    for each in given["instances"]:
        found = await api.get(f"/instances/{each['instance_id']}/why")
        events = (await api.get("/events", task=each["task_id"], limit=1000))["events"]
        assert sorted(step["id"] for step in found["steps"]) == sorted(event["id"] for event in events)
        assert not found["cut"]


async def test_why_one_of_many_that_an_earlier_release_made(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    given = await api.boot(count=3)
    await api.world.settle()
    store = MemoryStore()
    records = [each for each in api.world.log.all(Topic.EVENTS) if not each.filler]
    await project(
        store, [replace(each, headers=tuple(h for h in each.headers if h[0] != "ce_taskid")) for each in records]
    )
    monkeypatch.setattr("projections.history.causality.AT_ONCE", 7)
    for each in given["instances"]:
        chain = await explain(store, Key("instance", each["instance_id"]))
        events = (await api.get("/events", task=each["task_id"], limit=1000))["events"]
        assert sorted(step.entry.id for step in chain.steps) == sorted(event["id"] for event in events)
        assert not chain.cut


async def test_what_was_there_then(api: Api) -> None:
    first, second = await api.booted("web"), await api.booted("db")
    await api.delete("/instances/web", 202)
    await api.world.settle()
    last = (await api.get("/instances/db/history", limit=1000))["events"][-1]["time"]
    then = await api.get("/instances", at=last)
    assert [each["id"] for each in then["instances"]] == [second["id"], first["id"]]
    assert then["instances"][0] == second
    assert {each["status"] for each in then["instances"]} == {"active"}
    now = await api.get("/instances", at="2999-01-01")
    assert now["instances"] == (await api.get("/instances"))["instances"] == [second]
    gone = await api.get("/instances", at="2999-01-01", deleted=True)
    assert gone == await api.get("/instances", deleted=True)
    assert (await api.get("/instances", at=first["created"], fields="name,status"))["instances"] == [
        {"name": "web", "status": "building"}
    ]
    page = await api.get("/instances", at=last, limit=1)
    assert page["next"] == second["id"]
    rest = await api.get("/instances", at=last, limit=1, marker=page["next"])
    assert page["instances"] + rest["instances"] == then["instances"]
    assert rest["next"] is None
    assert (await api.get("/instances", at="9000d"))["instances"] == []


async def pages(api: Api, **asked: Any) -> list[list[dict[str, Any]]]:
    """All pages of a list of instances."""
    found: list[list[dict[str, Any]]] = []
    marker: dict[str, str] = {}
    while True:
        page = await api.get("/instances", **asked, **marker)
        found.append(page["instances"])
        if page["next"] is None:
            return found
        marker = {"marker": page["next"]}


@pytest.fixture
async def churned(api: Api) -> list[str]:
    """Moments of a story: two that stay, between them and after them others that come and go, one of them restored,
    one of another project."""
    other = {"X-GoStack-Project": "other"}
    await api.booted("web")
    for number in range(4):
        await api.booted(f"gone{number}")
    await api.boot("theirs", headers=other)
    await api.booted("db")
    for name in ("gone0", "gone1", "gone2"):
        await api.delete(f"/instances/{name}", 202)
    await api.world.settle()
    (back,) = (await api.get("/instances", deleted=True, name="gone0"))["instances"]
    await api.post(f"/instances/{back['id']}/actions/restore", {}, 202)
    await api.patch("/instances/web", {"name": "renamed"})
    await api.post("/instances/db/actions/stop", {}, 202)
    await api.world.settle()
    for name in ("gone3", "theirs"):
        await api.delete(f"/instances/{name}", 202, **(other if name == "theirs" else {}))
    await api.world.settle()
    events = (await api.get("/events", type="instance.*,task.*", limit=1000))["events"]
    return sorted({event["time"] for event in events if event["subject"].startswith("instance/")})


FILTERS: list[dict[str, Any]] = [
    {},
    {"deleted": True},
    {"project_id": "other"},
    {"name": "web"},
    {"status": "active,building"},
    {"host_name": "h1", "flavor_ids": "small"},
    {"project_id": "other", "deleted": True},
]


def as_wanted(doc: dict[str, Any], asked: dict[str, Any]) -> bool:
    same = {
        "project_id": doc["project_id"],
        "name": doc["name"],
        "host_name": doc["host"] and doc["host"]["name"],
        "flavor_ids": doc["flavor"]["name"],
    }
    return (
        all(asked[name] == value for name, value in same.items() if name in asked)
        and doc["status"] in asked.get("status", doc["status"]).split(",")
        and (doc["vm_state"] in ("deleted", "soft_deleted")) is asked.get("deleted", False)
    )


@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_every_list_has_what_was_there_then_on_full_pages(api: Api, churned: list[str], limit: int) -> None:
    every = [
        doc["id"] for deleted in (False, True) for doc in (await api.get("/instances", deleted=deleted))["instances"]
    ]
    told: set[int] = set()
    for at in churned[::-5]:
        docs = []
        for ident in every:
            answer = await api.http.get(f"/v1/instances/{ident}", params={"at": at})
            docs += [answer.json()] if answer.status_code == 200 else []
        docs.sort(key=lambda doc: (doc["created"], doc["id"]), reverse=True)
        for number, asked in enumerate(FILTERS):
            found = await pages(api, at=at, limit=limit, **asked)
            assert [doc for page in found for doc in page] == [doc for doc in docs if as_wanted(doc, asked)]
            told |= {number} if found[0] else set()
            assert all(len(page) == limit for page in found[:-1])
            assert found[-1] or len(found) == 1
    assert told == set(range(len(FILTERS)))


async def test_what_was_gone_by_then_is_not_read(api: Api, churned: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """However many came and went, the first page has those that were there."""
    folded: list[str] = []
    row_at = Folds.row_at

    async def counted(self: Folds, view: View, ident: str, *rest: Any) -> Row | None:
        folded.append(ident)
        return await row_at(self, view, ident, *rest)

    monkeypatch.setattr(Folds, "row_at", counted)
    await api.delete("/instances/db", 202)
    await api.world.settle()
    page = await api.get("/instances", at="2999-01-01", limit=2)
    assert [doc["name"] for doc in page["instances"]] == ["gone0", "renamed"]
    assert folded == [doc["id"] for doc in page["instances"]]
    folded.clear()
    assert (await api.get("/instances", at="2999-01-01", project_id="other"))["instances"] == []
    assert folded == []


@pytest.mark.parametrize(("bound", "most"), [("MOST_LOOKED_AT", 1), ("MOST_FOLDED", 20)])
async def test_a_request_ends_with_a_marker_where_it_has_looked_far_enough(
    api: Api, churned: list[str], monkeypatch: pytest.MonkeyPatch, bound: str, most: int
) -> None:
    asked = {"at": churned[-1], "status": "active", "name": "renamed"}
    whole = await api.get("/instances", **asked)
    assert (len(whole["instances"]), whole["next"]) == (1, None)
    monkeypatch.setattr(f"api.reads.time_travel.{bound}", most)
    *before, last = await pages(api, **asked)
    assert last == whole["instances"]
    assert before
    assert not any(before)


@pytest.mark.parametrize(
    ("field", "given"),
    [("limit", 101), ("skip", 1), ("at", "gostack.events/0/1")],
)
async def test_what_a_list_at_a_moment_does_not_take(api: Api, field: str, given: Any) -> None:
    problem = await api.get("/instances", 422, **{"at": "10m", field: given})
    assert problem["values"]["field"] == field
