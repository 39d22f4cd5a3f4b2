"""What is parked is released through the API, and the log says who did it."""

from domain.core.messages import Key
from domain.parking import AggregateParked, AggregateReleased
from tests.api.api import Api


async def test_a_parked_instance_is_released_and_goes_on(api: Api) -> None:
    web = await api.parked("web")
    assert (await api.post("/instances/web/actions/stop", status=409))["code"] == "parked"
    shown = await api.get("/instances/web")
    assert shown["parked"]["why"] == "ZeroDivisionError: boom"
    assert (shown["parked"]["place"].partition(":")[0], shown["status"]) == ("gostack.commands", "active")
    assert await api.get("/instances/web", fields="parked") == {"parked": shown["parked"]}
    (listed,) = (await api.get("/parked", kind="instance"))["parked"]
    assert listed == {"id": f"instance/{web['id']}", "kind": "instance", "parked": True, **shown["parked"]}
    assert (await api.get("/parked", kind="host"))["parked"] == []
    headers = {"X_GoStack_Reason": "mended"}
    released = await api.post("/parked/instance/web/release", status=200, **headers)
    assert (released["subject"], released["released"]) == (f"instance/{web['id']}", True)
    again = await api.post(f"/parked/instance/{web['id']}/release", status=200)
    assert again["released"] is False
    await api.world.settle()
    assert (await api.get("/parked"))["parked"] == []
    assert (await api.get("/instances/web"))["parked"] is None
    stop = await api.post("/instances/web/actions/stop", status=202)
    assert (await api.ended(stop["task_id"]))["status"] == "finished"
    told = [type(each) for each in api.world.events(Key("instance", web["id"]))]
    assert told.count(AggregateParked) == told.count(AggregateReleased) == 1
    events = await api.get("/events", subject=f"instance/{web['id']}", type="gostack.parking.aggregate-released.v1")
    assert [each["actor"] for each in events["events"]] == ["admin"]


async def test_what_cannot_be_parked_cannot_be_released(empty: Api) -> None:
    assert (await empty.post("/parked/task/x/release", status=422))["code"] == "invalid"
    assert (await empty.post("/parked/instance/nobody/release", status=404))["code"] == "not-found"
