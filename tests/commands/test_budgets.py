"""What a boot may cost, as counts: they do not depend on the machine, and each is paid for in every boot.

A change that needs more says why here.
"""

from collections import Counter

from domain.core.messages import Key, Topic
from domain.network.messages import CreateNetwork
from infra.db.memory import MemoryTransaction
from projections.store.port import ProjectionBatch
from tests.domain.instances import NETWORK, boot_command
from tests.harness.world import World

RECORDS = {
    Topic.COMMANDS: 2,  # boot, bind-port
    Topic.SCHEDULING: 1,  # place
    Topic.JOBS: 1,  # everything that the host does
    Topic.RESULTS: 3,  # scheduler's, network's, host's
    Topic.EVENTS: 12,  # nine of the instance, one of the host, two of the network
}
AGGREGATES = 6
"""Stored in steps: the instance four times, host and network once each."""
ROWS = 28
"""Of read models, where every boot comes alone: batches of many share them."""


async def test_a_boot_costs_no_more_than_this() -> None:
    world = World()
    await world.start()
    await world.host()
    await world.send(Key("network", NETWORK), CreateNetwork(name="lan", cidr="10.0.0.0/28", segment=1))
    # The first guest of a network on a host costs more: the host gets an address there.
    await world.send(Key("instance", "00000000-0000-0000-0000-000000000001"), boot_command())
    before = Counter({topic: len(world.log.all(topic)) for topic in RECORDS})
    stored, rows = 0, 0

    class Step(MemoryTransaction):
        def commit(self) -> None:
            nonlocal stored
            stored += len(self._changes)
            super().commit()

    apply = world.store.apply

    async def counted(batch: ProjectionBatch) -> None:
        nonlocal rows
        rows += sum(map(len, batch.rows.values()))
        await apply(batch)

    world.store.apply = counted  # type: ignore[method-assign]
    for write_store in (world.engine_write_store, world.scheduler_write_store):
        write_store.make_step = Step
    await world.send(Key("instance", "00000000-0000-0000-0000-000000000002"), boot_command())
    counts = Counter({topic: len(world.log.all(topic)) for topic in RECORDS})
    counts.subtract(before)
    assert dict(counts) == RECORDS
    assert stored == AGGREGATES
    assert rows == ROWS
