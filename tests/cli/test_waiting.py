"""Waiting for tasks: progress, faults, exit status, and what is known when the time is over."""

import json
from typing import Any

import pytest

from tests.cli.conftest import Gs, Service, problem

INSTANCE = "11111111-1111-1111-1111-111111111111"
TASK = "22222222-2222-2222-2222-222222222222"
STEPS = ["Place", "BindPort", "StartGuest"]


def task(status: str, done: int = 0, step: str = "", **more: Any) -> dict[str, Any]:
    known = {"id": TASK, "action": "boot", "status": status, "step": step, "steps_done": done, "steps": STEPS}
    return known | {"instance_id": INSTANCE, "instance_name": "web", "fault": None, "undo_fault": None} | more


def instance(**more: Any) -> dict[str, Any]:
    return {"id": INSTANCE, "name": "web", "status": "active", "version": 3} | more


@pytest.fixture
def booting(service: Service) -> Service:
    service.on("GET /v1/flavors", {"flavors": [{"id": "f", "name": "small"}]})
    service.on("GET /v1/images", {"images": [{"id": "i", "name": "tiny"}]})
    service.on("GET /v1/networks", {"networks": [{"id": "n", "name": "net"}]})
    made = {"instance_id": INSTANCE, "name": "web", "command_id": TASK, "task_id": TASK}
    service.on("POST /v1/instances", {"instances": [made], "admin_password": "once"}, status=202)
    service.on(f"GET /v1/instances/{INSTANCE}", instance())
    return service


BOOT = ("instance", "boot", "--name", "web", "--flavor", "small", "--image", "tiny", "--network", "net")


def test_a_boot_is_waited_for_and_shown(gs: Gs, booting: Service) -> None:
    ended = task("finished", 3)
    booting.on(f"GET /v1/tasks/{TASK}", task("running", 0, "Place"), task("running", 1, "BindPort"), ended)
    shown = gs(*BOOT)
    assert shown.exit_code == 0, shown.output
    assert shown.stderr.splitlines() == [
        "web: boot: Place (1 of 3), 0 s",
        "web: boot: BindPort (2 of 3), 0 s",
        "web: boot: finished, 0 s",
    ]
    rows = dict(line.split(maxsplit=1) for line in shown.stdout.splitlines())
    assert rows["status"] == "active"
    assert rows["admin_password"] == "once"
    reads = [request.url.params.get("after") for request in booting.asked if "/tasks/" in request.url.path]
    assert reads == [TASK, None, None]
    sent = json.loads(next(each for each in booting.asked if each.method == "POST").content)
    assert sent == {"name": "web", "flavor": "f", "image": "i", "network": "n", "config_drive": True}


def test_a_long_step_says_how_far_it_is(gs: Gs, booting: Service) -> None:
    half = {"step": "PrepareImage", "percent": 50.0, "done": 64 << 20, "total": 128 << 20}
    unsized = {"step": "PrepareImage", "percent": 75.0, "done": 0, "total": 0}
    booting.on(
        f"GET /v1/tasks/{TASK}",
        task("running", 2, "PrepareImage", progress=half),
        task("running", 2, "PrepareImage", progress=unsized),
        task("finished", 3, progress=None),
    )
    assert gs(*BOOT).stderr.splitlines() == [
        "web: boot: PrepareImage (3 of 3), 50 % (64M of 128M), 0 s",
        "web: boot: PrepareImage (3 of 3), 75 %, 0 s",
        "web: boot: finished, 0 s",
    ]


def test_without_waiting_the_task_is_told(gs: Gs, booting: Service) -> None:
    booting.on(f"GET /v1/tasks/{TASK}", task("running", 0, "Place"))
    shown = gs(*BOOT, "--no-wait", "--output", "json")
    assert shown.exit_code == 0
    assert json.loads(shown.stdout)["task_id"] == TASK
    assert booting.asked[-1].url.params["after"] == TASK
    booting.on(f"GET /v1/tasks/{TASK}", problem("not-applied-yet", 504, "Later."))
    assert gs(*BOOT, "--no-wait").exit_code == 0


def test_a_failed_task_tells_its_fault_and_the_filters(gs: Gs, booting: Service) -> None:
    counts = {"enabled-and-up": 2, "memory": 0}
    fault = {"code": "no-valid-host", "message": "No valid host.", "step": "Place", "details": counts}
    booting.on(f"GET /v1/tasks/{TASK}", task("failed", fault=fault))
    shown = gs(*BOOT)
    assert shown.exit_code == 1
    assert shown.stdout == ""
    assert "Error: web: boot failed at step Place: No valid host. (no-valid-host)" in shown.stderr
    assert "Hosts left after each filter: enabled-and-up 2, memory 0" in shown.stderr


def test_a_failed_undo_is_told_too(gs: Gs, booting: Service) -> None:
    fault = {"code": "job-failed", "message": "No disk.", "step": "CreateDisk", "details": {}}
    booting.on(f"GET /v1/tasks/{TASK}", task("failed", fault=fault, undo_fault=fault | {"message": "Still none."}))
    assert "Undoing it failed too: Still none. (job-failed)" in gs(*BOOT).stderr


def test_the_timeout_ends_the_wait_and_says_how_to_go_on(gs: Gs, booting: Service) -> None:
    booting.on(f"GET /v1/tasks/{TASK}", task("running", 0, "Place"))
    shown = gs(*BOOT, "--timeout", "0.2")
    assert shown.exit_code == 124
    assert f"gs task wait {TASK}" in shown.stderr


def test_a_verdict_that_comes_late(gs: Gs, service: Service) -> None:
    service.on(f"POST /v1/instances/{INSTANCE}/actions/stop", {"command_id": "c", "id": INSTANCE}, status=202)
    service.on(
        "GET /v1/commands/c",
        {"id": "c", "verdict": "pending"},
        {"id": "c", "verdict": "accepted", "task_id": TASK},
    )
    service.on(f"GET /v1/tasks/{TASK}", task("finished", 3, action="stop"))
    service.on(f"GET /v1/instances/{INSTANCE}", instance(status="stopped"))
    shown = gs("instance", "stop", INSTANCE, "-f", "status", "-o", "value")
    assert (shown.exit_code, shown.stdout) == (0, "stopped\n")


def test_a_refusal_that_comes_late(gs: Gs, service: Service) -> None:
    service.on(f"POST /v1/instances/{INSTANCE}/actions/stop", {"command_id": "c", "id": INSTANCE}, status=202)
    refused = {"status": 409, "detail": "It is busy.", "code": "task-running", "hint": "Wait."}
    service.on("GET /v1/commands/c", {"id": "c", "verdict": "refused", "problem": refused})
    shown = gs("instance", "stop", INSTANCE)
    assert (shown.exit_code, shown.stderr) == (1, "Error: It is busy. (task-running)\nHint: Wait.\n")


def test_what_is_so_already_succeeds_and_says_so(gs: Gs, service: Service) -> None:
    body = {"already": True, "message": "Instance web is stopped already.", "command_id": "c", "id": INSTANCE}
    service.on(f"POST /v1/instances/{INSTANCE}/actions/stop", body)
    service.on(f"GET /v1/instances/{INSTANCE}", instance(status="stopped"))
    shown = gs("instance", "stop", INSTANCE, "-o", "json")
    assert shown.exit_code == 0
    assert "stopped already" in shown.stderr
    assert json.loads(shown.stdout)["status"] == "stopped"


def test_several_at_once_each_with_its_own_outcome(gs: Gs, service: Service) -> None:
    other = INSTANCE.replace("1", "3")
    for ident, name in ((INSTANCE, TASK), (other, TASK.replace("2", "4"))):
        service.on(f"POST /v1/instances/{ident}/actions/hard-delete", {"task_id": name}, status=202)
        fault = {"code": "cancelled", "message": "The task was cancelled.", "step": ""}
        ended = task("finished") if ident == INSTANCE else task("cancelled", fault=fault)
        service.on(f"GET /v1/tasks/{name}", ended | {"id": name, "action": "hard-delete"})
    service.on(f"GET /v1/instances/{INSTANCE}", problem("not-found", 404, "There is no instance."))
    shown = gs("instance", "delete", "--hard", "--ignore", INSTANCE, other)
    assert shown.exit_code == 1
    assert "deleted" in shown.stdout
    assert other not in shown.stdout
    assert f"{other}: hard-delete was cancelled: The task was cancelled. (cancelled)" in shown.stderr
    assert json.loads(service.asked[0].content) == {"ignore": True}


def test_task_wait_and_cancel(gs: Gs, service: Service) -> None:
    service.on(f"GET /v1/tasks/{TASK}", task("finished", 3))
    service.on(f"POST /v1/tasks/{TASK}/cancel", {"command_id": "c", "task_id": TASK}, status=200)
    assert gs("task", "wait", TASK, "-o", "value", "-f", "status").stdout == "finished\n"
    shown = gs("task", "cancel", TASK)
    assert shown.exit_code == 1
    assert "was not cancelled: it has finished" in shown.stderr
    service.on(f"GET /v1/tasks/{TASK}", task("running"), task("undoing"), task("cancelled"))
    assert gs("task", "cancel", TASK).exit_code == 0
    assert gs("task", "wait", TASK).exit_code == 1


def test_a_clones_boot_that_no_user_asked_for_has_no_verdict_to_wait_for(gs: Gs, booting: Service) -> None:
    clone, boot = "33333333-3333-3333-3333-333333333333", "44444444-4444-4444-4444-444444444444"
    asked = {"command_id": TASK, "task_id": TASK, "clones": [{"id": clone, "name": "twin"}]}
    booting.on(f"POST /v1/instances/{INSTANCE}/actions/clone", asked, status=202)
    booting.on(f"GET /v1/tasks/{TASK}", task("finished", 3))
    booting.on(f"GET /v1/instances/{clone}", instance(id=clone, name="twin", task={"id": boot}))
    booting.on(f"GET /v1/tasks/{boot}", task("running", 1, "UnpackDisk", id=boot), task("finished", 3, id=boot))
    assert gs("instance", "clone", INSTANCE).exit_code == 0
    reads = [
        (each.url.path.rpartition("/")[2], each.url.params.get("after"))
        for each in booting.asked
        if "/tasks/" in each.url.path
    ]
    assert reads == [(TASK, TASK), (boot, None), (boot, None)]
