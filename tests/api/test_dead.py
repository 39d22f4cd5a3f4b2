"""Dead records through the API: seen, retried once, dropped; who did it stands in the topic."""

import pytest

from domain.dead import DeadDropped, DeadRetried
from domain.instance import decider
from domain.instance.actions.stop import StopInstance
from domain.instance.state import Instance
from domain.messages import Decision, Envelope, Record, Topic, from_record
from tests.api.api import Api


async def test_a_record_that_could_not_be_applied_is_retried_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    web = await api.booted("web")
    decide = decider.decide

    def broken(state: Instance | None, envelope: Envelope, cell: str) -> Decision:
        if isinstance(envelope.data, StopInstance):
            raise ZeroDivisionError("boom")
        return decide(state, envelope, cell)

    with monkeypatch.context() as patched:
        patched.setattr(decider, "decide", broken)
        assert (await api.post("/instances/web/actions/stop", status=409))["code"] == "parked"
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
