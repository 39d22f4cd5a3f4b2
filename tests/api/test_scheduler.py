"""The scheduler tells what it chooses by, and how it chose."""

from domain.scheduling.policy import DEFAULT
from tests.api.api import Api


async def test_what_it_chooses_by(api: Api) -> None:
    found = await api.get("/scheduler")
    assert [each["name"] for each in found["filters"]] == [each.name for each in DEFAULT.filters]
    assert all(each["leaves_out"] for each in found["filters"])
    assert {each["name"]: each["weight"] for each in found["weights"]} == {
        weigher.name: weight for weigher, weight in DEFAULT.weighers
    }


async def test_a_placement_is_explained(api: Api) -> None:
    await api.world.host("h2", zone="east")
    instance = await api.booted("web", zone="east")
    found = await api.get("/instances/web/placements")
    (placement,) = found["placements"]
    assert found["id"] == instance["id"]
    assert placement["host"] == {"id": instance["host"]["id"], "name": "h2"}
    assert [each["host"] for each in placement["best"]] == ["h2"]
    counts = {each["filter"]: (each["left_out"], each["left"]) for each in placement["filters"]}
    assert (placement["hosts"], counts["zone"], counts["disk"]) == (2, (1, 1), (0, 1))
    event = (await api.get(f"/hosts/{instance['host']['id']}/history", limit=1000))["events"][-1]
    assert (event["place"], event["data"]["instance_id"]) == (placement["place"], instance["id"])


async def test_a_refused_placement_is_explained(api: Api) -> None:
    await api.post("/flavors", {"name": "huge", "core": 200, "memory": 1 << 30})
    given = await api.boot("big", flavor="huge")
    await api.ended(given["task_id"])
    (placement,) = (await api.get("/instances/big/placements"))["placements"]
    assert placement["host"] is None
    assert placement["best"] == []
    vcpu = next(each for each in placement["filters"] if each["filter"] == "vcpu")
    assert vcpu == {"filter": "vcpu", "left_out": 1, "left": 0, "leaves_out": "short of vCPUs"}


async def test_a_placement_is_explained_however_much_was_done_since(api: Api) -> None:
    instance = await api.booted("web")
    for _ in range(25):
        asked = await api.post("/instances/web/actions/reboot", status=202)
        assert (await api.ended(asked["task_id"]))["status"] == "finished"
    (placement,) = (await api.get("/instances/web/placements"))["placements"]
    assert placement["host"]["id"] == instance["host"]["id"]
    assert (await api.get("/instances/web/placements/scores"))["place"] == placement["place"]


async def test_of_several_in_one_request_each_has_its_own(api: Api) -> None:
    given = await api.boot("many", count=3)
    await api.world.settle()
    for each in given["instances"]:
        (placement,) = (await api.get(f"/instances/{each['instance_id']}/placements"))["placements"]
        assert placement["host"]["name"] == "h1"
        chain = await api.get(f"/instances/{each['instance_id']}/why")
        assert len([step for step in chain["steps"] if step["subject"].startswith("host/")]) == 1
        assert len({step["subject"] for step in chain["steps"] if step["subject"].startswith("instance/")}) == 1


async def test_every_hosts_score_is_found_again(api: Api) -> None:
    await api.world.host("h2")
    await api.world.host("h3", vcpus=32)
    await api.world.host("h4", zone="east")
    await api.booted("first", zone="default")
    await api.booted("web", zone="default")
    (placement,) = (await api.get("/instances/web/placements"))["placements"]
    found = await api.get("/instances/web/placements/scores")
    assert (found["hosts"], found["differs"], found["next"]) == (4, "", None)
    assert (found["time"], found["place"]) == (placement["time"], placement["place"])
    left = [(each["name"], each["score"]) for each in found["scores"] if each["score"] is not None]
    assert left[:3] == [(each["host"], each["score"]) for each in placement["best"]]
    out = [(each["name"], each["left_out_by"], each["leaves_out"]) for each in found["scores"][len(left) :]]
    assert out == [("h4", "zone", "in another zone")]
    first = await api.get("/instances/web/placements/scores", limit=3)
    rest = await api.get("/instances/web/placements/scores", limit=3, marker=first["next"])
    assert (first["scores"] + rest["scores"], rest["next"]) == (found["scores"], None)


async def test_of_a_refused_placement_every_host_says_what_left_it_out(api: Api) -> None:
    await api.post("/flavors", {"name": "huge", "core": 200, "memory": 1 << 30})
    await api.ended((await api.boot("big", flavor="huge"))["task_id"])
    (score,) = (await api.get("/instances/big/placements/scores"))["scores"]
    assert (score["name"], score["score"], score["left_out_by"]) == ("h1", None, "vcpu")


async def test_of_which_placement_scores_are_told_can_be_chosen(api: Api) -> None:
    instance = await api.booted("web")
    path = f"/instances/{instance['id']}/placements"
    (placement,) = (await api.get(path))["placements"]
    at = "/".join(str(placement["place"][name]) for name in ("topic", "partition", "offset"))
    assert (await api.get(f"{path}/scores", at=at))["place"] == placement["place"]
    told = await api.get(f"{path}/scores", 422, at="gostack.events/0/999")
    assert at in told["detail"]
    assert (await api.get(f"{path}/scores", 422, marker="x"))["code"] == "invalid"
    assert (await api.get(f"{path}/scores", 422, limit=0))["code"] == "invalid"
