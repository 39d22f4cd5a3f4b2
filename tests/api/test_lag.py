"""What waits before each reader, and for how long, as each process measures it."""

from datetime import timedelta

from commands.reconcilers.liveness import LivenessMonitor
from domain.core.messages import Topic
from infra.log.lag import Lag
from tests.api.api import Api


async def test_an_engine_that_stands_still(empty: Api) -> None:
    world = empty.world
    world.stopped.add("engine")
    await empty.post("/flavors", {"name": "small", "core": 1, "memory": 1 << 29}, 202)
    world.now += timedelta(seconds=30)
    found = await world.processors["engine"].look()
    assert found.keys() == {"gostack.commands", "gostack.results"}
    assert found["gostack.commands"].records == 1
    assert 30 <= found["gostack.commands"].seconds < 31
    assert found["gostack.results"] == Lag(0, 0.0)
    world.stopped.clear()
    await world.settle()
    assert (await world.processors["engine"].look())["gostack.commands"] == Lag(0, 0.0)


async def test_the_tail_of_verdicts(empty: Api) -> None:
    await empty.post("/zones", {"name": "z"})
    await empty.world.settle()
    found = await empty.services.verdicts.look(empty.world.now)
    assert found.keys() == {"gostack.events"}


async def test_deadlines_that_stand(empty: Api) -> None:
    world = empty.world
    await empty.furnish()
    world.agents.silent.add("DefineGuest")
    await empty.boot(network="lan")
    await world.settle()
    await world.timers.look()
    assert world.timers.late == Lag(0, 0.0)
    world.stopped.add("engine")
    world.now += timedelta(hours=1)
    assert await world.timers.look() == 1
    assert world.timers.late.records == 1
    assert 0 < world.timers.late.seconds < 3600


async def test_beats_that_nobody_hears(empty: Api) -> None:
    beats = LivenessMonitor(empty.world.log, 15.0, empty.world.clock)
    beats._at = {each: first for each, (first, _) in (await empty.world.log.bounds([Topic.EVENTS])).items()}
    await empty.post("/zones", {"name": "z"})
    found = await beats.look()
    assert found["gostack.events"].records >= 1
    assert found["gostack.reports"] == Lag(0, 0.0)
