"""What each project uses, through boots, deletes and failures: always what hosts hold for it."""

from typing import Any

from tests.api.api import MIB, Api


async def used(api: Api, project: str = "admin") -> dict[str, Any]:
    (told,) = (await api.get("/usage", project_id=project))["usage"] or [{}]
    return dict(told)


async def test_what_is_booted_is_used_and_what_is_deleted_for_good_is_not(api: Api) -> None:
    assert (await api.get("/usage"))["usage"] == []
    web = await api.booted("web")
    disk = web["disk"]
    one = {"instances": 1, "vcpus": 1, "memory": 512 * MIB, "disk": disk, "ports": 1}
    assert await used(api) == {"project_id": "admin", **one}
    await api.booted("db")
    assert await used(api) == {"project_id": "admin", **{name: 2 * count for name, count in one.items()}}
    # What is deleted and can be restored is kept for.
    await api.delete(f"/instances/{web['id']}", 202)
    await api.world.settle()
    assert (await used(api))["instances"] == 2
    await api.delete(f"/instances/{web['id']}?hard=true", 202)
    await api.world.settle()
    assert await used(api) == {"project_id": "admin", **one}


async def test_an_instance_without_a_host_uses_none(api: Api) -> None:
    await api.post("/flavors", {"name": "huge", "core": 256, "memory": 1 << 29})
    given = await api.boot("big", flavor="huge")
    assert (await api.ended(given["task_id"]))["status"] == "failed"
    assert await used(api) == {
        "project_id": "admin",
        **{"instances": 1, "vcpus": 0, "memory": 0, "disk": 0, "ports": 0},
    }


async def test_projects_are_listed_a_page_at_a_time(api: Api) -> None:
    for project in ("c", "a", "b"):
        body = {"name": project, "flavor": "small", "image": "tiny", "network": "lan"}
        answer = await api.http.post("/v1/instances", json=body, headers={"X-GoStack-Project": project})
        assert answer.status_code == 202
    await api.world.settle()
    first = await api.get("/usage", limit=2)
    assert ([each["project_id"] for each in first["usage"]], first["next"]) == (["a", "b"], "b")
    rest = await api.get("/usage", limit=2, marker="b")
    assert ([each["project_id"] for each in rest["usage"]], rest["next"]) == (["c"], None)
    assert (await used(api, "b"))["vcpus"] == 1
    assert await used(api, "nobody") == {}
