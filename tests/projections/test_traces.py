"""The projector's spans: of what comes while it serves, and of nothing that is read again."""

from collections.abc import Iterator

import pytest

from domain.core.messages import Key, Topic, named_id
from domain.flavor import CreateFlavor, UpdateFlavor
from projections.projector import Projector
from projections.store.memory import MemoryStore
from tests.harness.spans import Spans, collected
from tests.harness.world import World

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
FLAVOR = Key("flavor", named_id("test", "flavor"))


@pytest.fixture
def spans() -> Iterator[Spans]:
    with collected() as found:
        yield found


async def told() -> World:
    """A flavor whose making was traced."""
    world = World()
    await world.start()
    await world.send(FLAVOR, CreateFlavor(name="small", core=1, memory=1 << 30), traceparent=PARENT)
    return world


async def test_an_event_that_comes_is_below_what_made_it(spans: Spans) -> None:
    await told()
    (decided,) = spans.named("decide flavor.create")
    (projected,) = spans.named("project flavor.created")
    assert spans.parent(projected) is decided


async def test_a_rebuild_makes_none(spans: Spans) -> None:
    world = await told()
    spans.exporter.clear()
    ends = {each: end for each, (_, end) in (await world.log.bounds([Topic.EVENTS])).items()}
    store = MemoryStore()
    projector = Projector(world.log, store)
    await projector.start(list(ends))
    await projector.up_to(ends)
    assert await store.get("flavors", FLAVOR.id)
    assert spans.all() == []


async def test_what_was_there_before_a_projector_began_makes_none_and_what_comes_then_does(spans: Spans) -> None:
    world = await told()
    spans.exporter.clear()
    store = MemoryStore()
    looks = iter([False, True])
    await Projector(world.log, store).run(lambda: next(looks))
    assert await store.get("flavors", FLAVOR.id)
    assert spans.all() == []
    await world.send(FLAVOR, UpdateFlavor(core=2), traceparent=PARENT)
    assert [each.name for each in spans.all()] == ["decide flavor.update", "project flavor.updated"]
