"""Cells as operators see them."""

from domain.core.messages import Topic
from infra.log.topics import TOPICS, partition_of
from tests.api.api import Api


async def test_a_cell_is_the_sum_of_its_hosts(empty: Api) -> None:
    assert (await empty.get("/cells"))["cells"] == []
    for name, cell, vcpus in (("a", "east", 4), ("b", "east", 8), ("c", "west", 2)):
        await empty.world.host(name, zone=cell, cell=cell, vcpus=vcpus)
    east, west = (await empty.get("/cells"))["cells"]
    assert (east["name"], east["hosts"], east["vcpus"]) == ("east", 2, {"total": 12, "capacity": 48, "used": 0})
    assert (west["name"], west["hosts"], west["vcpus"]) == ("west", 1, {"total": 2, "capacity": 8, "used": 0})
    records = [each for each in empty.world.log.all(Topic.SCHEDULING) if each.key == b"east"]
    assert {each.partition for each in records} == {east["partition"]}
    assert east["partition"] == partition_of(b"east", TOPICS[Topic.SCHEDULING].partitions)


async def test_cells_are_listed_a_page_at_a_time(empty: Api) -> None:
    for cell in ("east", "north", "west"):
        await empty.world.host(f"h-{cell}", zone=cell, cell=cell)
    page = await empty.get("/cells", limit=2)
    assert ([each["name"] for each in page["cells"]], page["next"]) == (["east", "north"], "north")
    page = await empty.get("/cells", marker=page["next"])
    assert ([each["name"] for each in page["cells"]], page["next"]) == (["west"], None)
