"""Tasks, jobs and commands through the API."""

import uuid

from tests.api.api import Api


async def test_tasks_are_listed_and_narrowed(api: Api) -> None:
    web = await api.booted("web")
    stop = (await api.post("/instances/web/actions/stop", status=202))["task_id"]
    await api.world.settle()
    for params in (
        {"action": "stop"},
        {"instance": "web", "action": "stop"},
        {"status": "finished,failed", "instance": web["id"], "action": "stop"},
        {"correlation": stop},
    ):
        assert [task["id"] for task in (await api.get("/tasks", **params))["tasks"]] == [stop]
    assert (await api.get("/tasks", status="running"))["tasks"] == []
    assert len((await api.get("/tasks", project_id="admin"))["tasks"]) == 2


async def test_a_task_is_cancelled_and_undone(api: Api) -> None:
    api.world.agents.silent.add("PrepareImage")
    given = await api.boot("web")
    await api.world.settle()
    cancelled = await api.post(f"/tasks/{given['task_id']}/cancel", status=200)
    assert (cancelled["id"], cancelled["status"], cancelled["cancelled_by"]) == (
        given["task_id"],
        "cancelling",
        "admin",
    )
    assert (await api.post(f"/tasks/{given['task_id']}/cancel", status=200))["already"] is True
    await api.world.answer_late()
    task = await api.get(f"/tasks/{given['task_id']}")
    assert task["status"] == "cancelled"
    over = await api.post(f"/tasks/{given['task_id']}/cancel", status=404)
    assert over["code"] == "no-such-task"
    assert (await api.post(f"/tasks/{uuid.uuid4()}/cancel", status=404))["code"] == "not-found"


async def test_jobs_are_listed_and_narrowed(api: Api) -> None:
    web = await api.booted("web")
    task = (await api.get("/tasks"))["tasks"][0]
    names = {job["name"] for job in (await api.get("/jobs", task=task["id"]))["jobs"]}
    assert names == set(task["steps"])
    on_host = await api.get("/jobs", host="h1", instance="web", name="CreateDisk", status="finished")
    assert [job["instance_id"] for job in on_host["jobs"]] == [web["id"]]
    assert (await api.get("/jobs", status="failed"))["jobs"] == []


async def test_a_command_can_be_asked_for(api: Api) -> None:
    booted = await api.boot("web")
    await api.world.settle()
    known = await api.get(f"/commands/{booted['command_id']}")
    assert (known["verdict"], known["task_id"]) == ("accepted", booted["task_id"])
    refused = await api.http.post("/v1/instances/web/actions/restore", headers={"Idempotency-Key": "r"})
    command_id = refused.json()["instance"].rpartition(":")[2]
    told = await api.get(f"/commands/{command_id}")
    assert told["verdict"] == "refused"
    assert told["problem"] == refused.json()
    again = await api.http.post("/v1/instances/web/actions/restore", headers={"Idempotency-Key": "r"})
    assert again.json() == refused.json()
    nobody = await api.http.get(f"/v1/commands/{uuid.uuid4()}")
    assert (nobody.status_code, nobody.json()["verdict"]) == (202, "pending")
    assert (await api.get("/commands/x", 422))["code"] == "invalid"


async def test_a_verdict_that_does_not_come_leaves_the_commands_id(api: Api) -> None:
    api.world.stopped.add("engine")
    answer = await api.http.post("/v1/flavors", json={"name": "new", "core": 1, "memory": 1 << 30})
    assert answer.status_code == 202
    command_id = answer.json()["command_id"]
    assert answer.headers["Location"] == f"/v1/commands/{command_id}"
    api.world.stopped.clear()
    await api.world.settle()
    assert (await api.get(f"/commands/{command_id}"))["verdict"] == "accepted"
    assert (await api.get("/flavors/new"))["id"] == answer.json()["id"]


async def test_done_but_not_projected_tells_the_id(api: Api) -> None:
    api.world.stopped.add("projector")
    made = await api.post("/flavors", {"name": "new", "core": 1, "memory": 1 << 30})
    assert set(made) == {"command_id", "id"}


async def test_no_step_has_the_name_of_a_message(api: Api) -> None:
    await api.post("/networks", {"name": "tiny", "cidr": "10.9.0.0/29"})
    shown = []
    for number in range(6):
        given = await api.boot(f"web-{number}", network="tiny")
        task = await api.ended(given["task_id"])
        history = await api.get(f"/tasks/{task['id']}/history", limit=1000)
        shown += [
            *(task["steps"], task["step"], task["fault"]),
            (await api.get(f"/instances/{given['id']}"))["fault"],
            *(each["name"] for each in (await api.get("/jobs", task=task["id"]))["jobs"]),
            *(each["says"] for each in (await api.get(f"/tasks/{task['id']}/why"))["steps"]),
            *(each["data"].get("jobs") for each in history["events"]),
        ]
    assert (task["fault"]["step"], task["fault"]["code"]) == ("BindPort", "no-address-left")
    assert [each for each in shown if "gostack." in str(each)] == []
