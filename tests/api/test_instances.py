"""Instances through the API: read, list, change, act, delete."""

from typing import Any

import pytest

from domain.core.errors import FAULTS
from domain.instance.actions import ACTIONS
from domain.tasks.messages import JobError
from tests.api.api import Api


async def test_show_by_id_and_by_name(api: Api) -> None:
    instance = await api.booted("web")
    assert await api.get("/instances/web") == instance
    assert (await api.get("/instances/nobody", 404))["code"] == "not-found"
    assert (await api.get("/instances/00000000-0000-4000-8000-000000000000", 404))["code"] == "not-found"


async def test_a_name_that_several_have_names_none(api: Api) -> None:
    one, two = await api.booted("web"), await api.booted("web")
    refused = await api.get("/instances/web", 409)
    assert refused["code"] == "name-not-unique"
    assert one["id"] in refused["detail"]
    assert two["id"] in refused["detail"]


async def test_etag_and_not_modified(api: Api) -> None:
    instance = await api.booted("web")
    answer = await api.http.get(f"/v1/instances/{instance['id']}")
    assert answer.headers["ETag"] == f'"{instance["version"]}"'
    for known in (answer.headers["ETag"], f'"1", W/{answer.headers["ETag"]}', "*"):
        again = await api.http.get(f"/v1/instances/{instance['id']}", headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
    other = await api.http.get(f"/v1/instances/{instance['id']}", headers={"If-None-Match": '"1"'})
    assert other.status_code == 200


async def test_change_with_if_match(api: Api) -> None:
    instance = await api.booted("web")
    etag = f'"{instance["version"]}"'
    changed = await api.patch("/instances/web", {"name": "www", "metadata": {"a": "b"}}, If_Match=etag)
    assert (changed["name"], changed["metadata"], changed["hostname"]) == ("www", {"a": "b"}, "web")
    assert changed["version"] == instance["version"] + 1
    refused = await api.patch("/instances/www", {"name": "w3"}, 412, If_Match=etag)
    assert refused["code"] == "version-conflict"
    assert refused["values"]["actual"] == str(changed["version"])
    assert (await api.patch("/instances/www", {"name": "w3"}, 422, If_Match="yesterday"))["code"] == "invalid"
    assert (await api.patch("/instances/www", {"name": "w3"}, If_Match="*"))["name"] == "w3"


async def test_a_change_that_changes_nothing_says_so(api: Api) -> None:
    instance = await api.booted("web")
    same = await api.patch("/instances/web", {"name": "web"})
    assert (same["already"], same["id"]) == (True, instance["id"])


async def test_a_wrong_change_is_refused(api: Api) -> None:
    await api.booted("web")
    for body in ({"name": ""}, {"metadata": {"": ""}}, {"flavor": "x"}):
        assert (await api.patch("/instances/web", body, 422))["code"] == "invalid"
    assert (await api.patch("/instances/none", {"name": "x"}, 404))["code"] == "not-found"


async def test_actions_are_tasks(api: Api) -> None:
    instance = await api.booted("web")
    path = f"/instances/{instance['id']}/actions"
    for verb, status in (("stop", "stopped"), ("start", "active"), ("reboot", "active"), ("hard-reboot", "active")):
        task = await api.ended((await api.post(f"{path}/{verb}", status=202))["task_id"])
        assert task["status"] == "finished"
        assert (await api.get("/instances/web"))["status"] == status


async def test_an_image_is_named_and_looked_up_when_it_is_asked_for(api: Api) -> None:
    instance = await api.booted("web")
    image = instance["image"]
    path = f"/instances/{instance['id']}/actions"
    for named in (image["name"], image["id"]):
        task = await api.ended((await api.post(f"{path}/rescue", {"image": named}, 202))["task_id"])
        assert task["status"] == "finished"
        assert (await api.get("/instances/web"))["status"] == "rescued"
        await api.ended((await api.post(f"{path}/unrescue", status=202))["task_id"])
    task = await api.ended((await api.post(f"{path}/rebuild", {"image": image["name"]}, 202))["task_id"])
    assert task["status"] == "finished"
    assert (await api.get("/instances/web"))["image"] == image
    assert (await api.post(f"{path}/rebuild", {"image": "none"}, 404))["code"] == "not-found"


async def test_what_is_so_already_says_so(api: Api) -> None:
    instance = await api.booted("web")
    said = await api.post("/instances/web/actions/start", status=200)
    assert said["already"] is True
    assert said["id"] == instance["id"]
    assert said["message"]


async def test_an_action_in_the_wrong_status_is_refused_with_what_is_allowed(api: Api) -> None:
    await api.booted("web")
    refused = await api.post("/instances/web/actions/restore", status=409)
    assert refused["code"] == "wrong-status"
    assert refused["type"] == "urn:gostack:problem:wrong-status"
    assert refused["values"]["allowed"] == "soft_deleted"


async def test_a_busy_instance_names_its_task(api: Api) -> None:
    await api.booted("web")
    api.world.agents.silent.add("StopGuest")
    task = (await api.post("/instances/web/actions/stop", status=202))["task_id"]
    refused = await api.post("/instances/web/actions/reboot", status=409)
    assert (refused["code"], refused["values"]["task"]) == ("task-running", task)


async def test_every_verb_has_a_route_with_its_own_fields(api: Api) -> None:
    await api.booted("web")
    for name in ACTIONS:
        answer = await api.http.post(f"/v1/instances/web/actions/{name}", json={"no_such_field": 1})
        assert answer.status_code == (404 if name == "boot" else 422), name
    refused = await api.post("/instances/web/actions/delete", {"keep_for": 1}, 422)
    assert refused["errors"][0]["message"] == "there is no such field"


async def test_delete_is_soft_and_restore_brings_back(api: Api) -> None:
    instance = await api.booted("web")
    task = await api.delete("/instances/web", 202)
    await api.ended(task["task_id"])
    deleted = await api.get(f"/instances/{instance['id']}")
    assert deleted["status"] == "soft_deleted"
    assert deleted["purge_at"] is not None
    await api.get("/instances/web", 404)
    assert (await api.get("/instances"))["instances"] == []
    assert [each["id"] for each in (await api.get("/instances", deleted=True))["instances"]] == [instance["id"]]
    await api.ended((await api.post(f"/instances/{instance['id']}/actions/restore", status=202))["task_id"])
    assert (await api.get("/instances/web"))["status"] == "active"


async def test_a_soft_deleted_one_is_purged_after_the_operators_time(api: Api) -> None:
    instance = await api.booted("web")
    await api.ended((await api.delete("/instances/web", 202))["task_id"])
    await api.world.pass_time(api.services.settings.instances.purge_after + 1)
    assert (await api.get(f"/instances/{instance['id']}"))["status"] == "deleted"


async def test_hard_delete_takes_it_apart(api: Api) -> None:
    instance = await api.booted("web")
    await api.ended((await api.delete("/instances/web?hard=true", 202))["task_id"])
    assert (await api.get(f"/instances/{instance['id']}"))["status"] == "deleted"
    assert (await api.get("/networks/lan"))["ports"] == 0
    assert (await api.delete(f"/instances/{instance['id']}", 404))["code"] == "not-found"


async def test_an_instance_whose_boot_failed_says_what_to_do_and_only_that_is_possible(api: Api) -> None:
    await api.delete("/networks/lan")
    await api.post("/hosts/h1/actions/disable", {"reason": "test"}, 200)
    given = await api.boot("it's web")
    task = await api.ended(given["task_id"])
    assert task["fault"]["code"] in FAULTS
    hint = task["fault"]["hint"]
    assert hint.startswith("Filter enabled-and-up left no host: look at the hosts (gs host list)")
    assert hint.endswith("""Delete it and boot again: gs instance delete 'it'"'"'s web'""")
    before = await api.get(f"/instances/{given['id']}")
    assert before["fault"] == task["fault"]
    (job,) = (await api.get("/jobs", task=task["id"]))["jobs"]
    assert job["fault"]["hint"] in hint
    for verb in ("start", "stop", "reset", "hard-reboot", "rescue", "rebuild"):
        refused = await api.post(f"/instances/{given['id']}/actions/{verb}", status=409)
        assert (refused["code"], "gs instance delete" in refused["hint"]) == ("never-ran", True)
    assert await api.get(f"/instances/{given['id']}") == before
    await api.ended((await api.delete(f"/instances/{given['id']}", 202))["task_id"])
    assert (await api.get(f"/instances/{given['id']}"))["status"] == "soft_deleted"


async def test_an_instance_in_error_on_a_host_is_deleted_only_when_that_is_ignored(api: Api) -> None:
    await api.booted("web")
    api.world.agents.failures["StartGuest"] = JobError(code="job-failed", message="no")
    await api.ended((await api.post("/instances/web/actions/hard-reboot", status=202))["task_id"])
    assert (await api.get("/instances/web"))["status"] == "error"
    refused = await api.delete("/instances/web", 409)
    assert (refused["code"], refused["hint"][:4]) == ("error-needs-ignore", "Look")
    await api.ended((await api.delete("/instances/web?ignore=true", 202))["task_id"])


async def test_the_console_is_the_hosts(api: Api) -> None:
    instance = await api.booted("web")
    answer = await api.http.get("/v1/instances/web/console-log", params={"lines": 2})
    assert (answer.text, answer.headers["Content-Type"]) == ("two\nthree\n", "text/plain; charset=utf-8")
    answer = await api.http.get("/v1/instances/web/console-log", params={"bytes": 5})
    assert answer.text == "hree\n"
    request = api.door.calls[-1]
    assert request.headers["Authorization"] == "Bearer agents-and-api"
    assert str(request.url) == (
        f"http://h1.test/v1/hosts/{instance['host']['id']}/instances/{instance['id']}/console?most=5"
    )


async def test_the_display_is_the_hosts(api: Api) -> None:
    instance = await api.booted("web")
    answer = await api.http.post("/v1/instances/web/vnc")
    assert answer.json() == {"host": "10.1.0.11", "port": 5900, "password": "p", "valid_seconds": 300}
    assert answer.headers["Cache-Control"] == "no-store"
    assert api.door.calls[-1].url.path == f"/v1/hosts/{instance['host']['id']}/instances/{instance['id']}/vnc"


async def test_its_local_disks_are_what_its_host_finds(api: Api) -> None:
    await api.booted("web")
    disk = {"name": "root", "path": "/d", "format": "qcow2", "virtual_size": 2, "real_size": 1, "backing_file": "/b"}
    api.door.disks = [disk]
    assert await api.get("/instances/web/local-disks") == {"disks": [{**disk, "device": ""}]}
    api.door.disks = [{"name": "root"}]
    assert (await api.get("/instances/web/local-disks", 502))["code"] == "agent-unreachable"
    api.door.status = 404
    assert (await api.get("/instances/web/local-disks", 409))["code"] == "agent-refused"


async def test_without_a_host_there_is_no_console(api: Api) -> None:
    await api.post("/hosts/h1/actions/disable", {}, 200)
    await api.ended((await api.boot("web"))["task_id"])
    assert (await api.get("/instances/web/console-log", 409))["code"] == "no-host-yet"


@pytest.mark.parametrize(("status", "code", "answered"), [(409, "agent-refused", 409), (503, "agent-unreachable", 502)])
async def test_what_an_agent_refuses_is_said(api: Api, status: int, code: str, answered: int) -> None:
    await api.booted("web")
    api.door.status = status
    refused = await api.post("/instances/web/vnc", status=answered)
    assert refused["code"] == code
    assert "the guest is off" in refused["detail"]


async def test_interfaces(api: Api) -> None:
    instance = await api.booted("web")
    listed = (await api.get("/instances/web/interfaces"))["interfaces"]
    assert [{name: each[name] for name in instance["nics"][0]} for each in listed] == instance["nics"]
    assert (await api.get("/instances/web/interfaces", fields="ip"))["interfaces"] == [{"ip": "10.0.0.2"}]
    assert (await api.get("/instances/web/interfaces", 422, fields="speed"))["code"] == "invalid"


async def test_history_in_pages(api: Api) -> None:
    instance = await api.booted("web")
    whole = (await api.get("/instances/web/history", limit=1000))["events"]
    assert whole[0]["type"] == "gostack.instance.created.v6"
    assert whole[-1]["type"] == "gostack.task.finished.v2"
    assert [event["version"] for event in whole] == list(range(1, instance["version"] + 1))
    paged: list[Any] = []
    marker = None
    while True:
        page = await api.get("/instances/web/history", limit=3, **({"marker": marker} if marker else {}))
        paged += page["events"]
        marker = page["next"]
        if marker is None:
            break
    assert paged == whole


async def test_every_filter(api: Api) -> None:
    await api.world.host("h2", zone="east")
    await api.post("/keypairs", {"name": "laptop"})
    flavor = await api.post("/flavors", {"name": "large", "core": 2, "memory": 1 << 30})
    image = await api.image("other", b"\0other")
    web = await api.booted("web", host="h1")
    booted = await api.http.post(
        "/v1/instances",
        json={"name": "db", "flavor": "large", "image": "other", "host": "h2", "zone": "east", "only_define": True},
        headers={"X-GoStack-Actor": "ann", "X-GoStack-Project": "shop"},
    )
    await api.ended(booted.json()["task_id"])
    db = await api.get("/instances/db")
    for params in (
        {"name": "db"},
        {"status": "stopped,error"},
        {"vm_state": "stopped"},
        {"flavor_ids": "large"},
        {"flavor_ids": flavor["id"]},
        {"host_id": "h2"},
        {"host_id": db["host"]["id"]},
        {"host_name": "h2"},
        {"image_id": "other"},
        {"image_id": image["id"]},
        {"ip": db["addresses"][0]},
        {"project_id": "shop"},
        {"user_id": "ann"},
        {"zone": "east"},
        {"name": "db", "status": "stopped", "zone": "east"},
    ):
        found = await api.get("/instances", **params)
        assert [each["name"] for each in found["instances"]] == ["db"], params
    for params in ({"name": "x"}, {"key_name": "laptop"}, {"ip": "10.9.9.9"}, {"zone": "east", "host_name": "h1"}):
        assert (await api.get("/instances", **params))["instances"] == [], params
    seconds = int(api.world.now.timestamp())
    for dates, count in ((f"{seconds - 60},{seconds + 60}", 2), (f",{seconds - 60}", 0), (f"{seconds + 60},", 0)):
        for name in ("create_date", "update_date"):
            assert len((await api.get("/instances", **{name: dates}))["instances"]) == count, (name, dates)
    assert (await api.get("/instances", 422, create_date="yesterday"))["values"]["field"] == "create_date"
    assert (await api.get("/instances", 422, colour="red"))["errors"][0]["field"] == "colour"
    assert web["name"] == "web"
