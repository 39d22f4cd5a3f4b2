"""Dead records through the API: seen, retried once, dropped; who did it stands in the topic."""

from dataclasses import replace

from api.http.request_context import RequestContext
from api.writes.dead_records import DeadRecords
from domain.core.messages import Record, Topic, from_record, named_id
from domain.dead import DeadDropped, DeadRetried
from tests.api.api import Api
from tests.harness.nonsense import NONSENSE


async def test_a_record_that_could_not_be_applied_is_retried_once(api: Api) -> None:
    web = await api.parked("web")
    (dead,) = (await api.get("/events/dead", status="dead", kind="instance"))["dead"]
    assert (dead["subject"], dead["why"]) == (f"instance/{web['id']}", "ZeroDivisionError: boom")
    assert (await api.get("/events/dead", subject="instance/other"))["dead"] == []
    shown = await api.get(f"/events/dead/{dead['id']}")
    assert (shown["headers"]["gostack_place"], shown["data"]) == (dead["place"], {})
    retried = await api.post(f"/events/dead/{dead['id']}/retry", status=200, X_GoStack_Reason="mended")
    assert (retried["status"], retried["closed_by"], retried["closed_reason"]) == ("retried", "admin", "mended")
    assert await api.post(f"/events/dead/{dead['id']}/retry", status=200) == retried
    await api.world.settle()
    assert (await api.get("/instances/web"))["vm_state"] == "stopped"
    assert len((await api.get("/tasks", action="stop"))["tasks"]) == 1
    assert (await api.post(f"/events/dead/{dead['id']}/drop", status=409))["code"] == "wrong-status"
    facts = [from_record(each).data for each in api.world.log.all(Topic.DEAD)[1:]]
    assert [type(each) for each in facts] == [DeadRetried]


async def test_what_cannot_be_read_is_shown_and_dropped(empty: Api) -> None:
    await empty.world.log.publish([Record(Topic.COMMANDS, b"k", b"\xff no JSON", (("ce_type", b"unheard-of"),), 3)] * 2)
    await empty.world.settle()
    page = await empty.get("/events/dead", limit=1)
    assert len(page["dead"]) == 1
    (older,) = (await empty.get("/events/dead", marker=page["next"]))["dead"]
    shown = await empty.get(f"/events/dead/{older['id']}")
    assert (shown["place"], shown["type"]) == ("gostack.commands:3:0", "unheard-of")
    assert shown["data"].endswith(" no JSON")
    dropped = await empty.post(f"/events/dead/{older['id']}/drop", status=200)
    assert dropped["status"] == "dropped"
    assert await empty.post(f"/events/dead/{older['id']}/drop", status=200) == dropped
    assert (await empty.post(f"/events/dead/{older['id']}/retry", status=409))["code"] == "wrong-status"
    assert isinstance(from_record(empty.world.log.all(Topic.DEAD)[-1]).data, DeadDropped)
    assert len((await empty.get("/events/dead", status="dead"))["dead"]) == 1
    assert (await empty.get("/events/dead", 422, marker="x"))["code"] == "invalid"
    assert (await empty.get("/events/dead/x", 404))["code"] == "not-found"


async def test_a_job_that_a_host_could_not_read_is_retried_in_its_partition(api: Api) -> None:
    world = api.world
    world.stopped.add("agents")
    given = await api.boot("web")
    await world.settle()
    (job,) = world.log.all(Topic.JOBS)
    assert await world._parts["agents"].reader.fetch(10, 0) == [job], "the agent takes it, and cannot read it"
    about = (("gostack_place", job.place.encode()), ("gostack_why", b"no JSON"))
    await world.log.publish([Record(Topic.DEAD, job.key, job.value, (*job.headers, *about))])
    await world.settle()
    (dead,) = (await api.get("/events/dead", status="dead"))["dead"]
    assert (dead["place"], dead["subject"]) == (job.place, f"instance/{given['id']}")
    commands = len(world.log.all(Topic.COMMANDS)), len(world.log.all(Topic.SCHEDULING))
    assert (await api.post(f"/events/dead/{dead['id']}/retry", status=200))["status"] == "retried"
    _, again = world.log.all(Topic.JOBS)
    assert (again.key, again.value, again.partition) == (job.key, job.value, job.partition)
    assert from_record(again).id != from_record(job).id
    assert (len(world.log.all(Topic.COMMANDS)), len(world.log.all(Topic.SCHEDULING))) == commands, "nothing is released"
    world.stopped.discard("agents")
    assert (await api.ended(given["task_id"]))["status"] == "finished"


async def test_an_event_that_cannot_be_read_is_dropped_and_never_put_on_its_topic_again(empty: Api) -> None:
    await empty.world.log.publish([replace(NONSENSE["broken JSON"], partition=3)])
    await empty.world.settle()
    (dead,) = (await empty.get("/events/dead", status="dead", kind="zone"))["dead"]
    (event,) = [each for each in empty.world.log.all(Topic.EVENTS) if each.place == dead["place"]]
    assert (await empty.get(f"/events/dead/{dead['id']}"))["data"] == event.value.decode()
    before = empty.world.log.size
    refused = await empty.post(f"/events/dead/{dead['id']}/retry", status=409)
    assert (refused["code"], dead["place"] in refused["detail"]) == ("event-not-retried", True)
    assert "gs event dead drop" in refused["hint"]
    assert empty.world.log.size == before
    assert (await empty.post(f"/events/dead/{dead['id']}/drop", status=200))["status"] == "dropped"
    assert (await empty.get("/events/dead", status="dead"))["dead"] == []
    assert (await empty.post(f"/events/dead/{dead['id']}/retry", status=409))["code"] == "wrong-status"


async def test_what_another_process_did_is_seen(empty: Api) -> None:
    await empty.world.log.publish([Record(Topic.COMMANDS, b"k", b"\xff", (("ce_type", b"unheard-of"),), 3)])
    await empty.world.settle()
    (dead,) = (await empty.get("/events/dead"))["dead"]
    services = empty.services
    other = DeadRecords(services.log, services.store, services.clock, 1.0)
    asked = RequestContext("bob", "admin", "", "", named_id("command", "x"), False, "", None)
    assert (await other.drop(asked, dead["id"]))["closed_by"] == "bob"
    assert (await empty.post(f"/events/dead/{dead['id']}/retry", status=409))["code"] == "wrong-status"


async def test_nothing_is_done_while_the_read_model_is_behind(empty: Api) -> None:
    empty.world.stopped.add("projector")
    await empty.world.log.publish([Record(Topic.COMMANDS, b"k", b"\xff", (("ce_type", b"unheard-of"),), 3)])
    await empty.world.settle()
    before = len(empty.world.log.all(Topic.DEAD))
    told = await empty.post("/events/dead/x/drop", status=504)
    assert (told["code"], len(empty.world.log.all(Topic.DEAD))) == ("not-applied-yet", before)
