"""A disk on its way to a host: how far it is, and what is left where it does not come."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest

from agent.drivers.driver import DiskContent, DriverError
from agent.jobs import HANDLERS, Context, migration
from agent.outside.other_hosts import OtherHostsInMemory
from domain.guest_spec import GuestSpec
from domain.jobs.migration import FetchDisk
from tests.agent.bench import IMAGE, Hypervisor, no_secrets
from tests.agent.samples import a_guest

ELSEWHERE = "another host"
JOB = FetchDisk(endpoint="http://agent", host_id=ELSEWHERE)


class Shaky:
    """Other hosts of which the agent goes away so often, each time after the first piece of the disk."""

    def __init__(self, driver: Hypervisor, falls: int) -> None:
        self._whole = OtherHostsInMemory({ELSEWHERE: driver})
        self.falls = falls
        self.gate: asyncio.Event | None = None
        self.reached = asyncio.Event()

    @asynccontextmanager
    async def disk(self, endpoint: str, host_id: str, instance_id: str) -> AsyncIterator[DiskContent]:
        async with self._whole.disk(endpoint, host_id, instance_id) as content:
            yield DiskContent(content.size, self._fallible(content))

    async def _fallible(self, content: DiskContent) -> AsyncGenerator[bytes, None]:
        async for chunk in content.chunks:
            yield chunk
            self.reached.set()
            if self.gate is not None:
                await self.gate.wait()
            if self.falls:
                self.falls -= 1
                raise DriverError("host-unreachable", "the agent is away")


async def disks() -> tuple[Hypervisor, Hypervisor, GuestSpec]:
    """A host that has the guest's disk, and one that has its image alone."""
    there, here, guest = Hypervisor(), Hypervisor(), a_guest(IMAGE)
    await there.prepare_image(IMAGE)
    await there.create_disk(guest)
    await here.prepare_image(IMAGE)
    return there, here, guest


def context(here: Hypervisor, others: Shaky, told: list[tuple[int, int]]) -> Context:
    return Context(
        driver=here,
        secrets=no_secrets,
        other_hosts=others,
        progress=lambda done, total: told.append((done, total)),
    )


async def has_disk(driver: Hypervisor, guest: GuestSpec) -> bool:
    try:
        await (await driver.read_disk(guest.id)).chunks.aclose()
    except DriverError:
        return False
    return True


async def test_it_says_how_far_it_is() -> None:
    there, here, guest = await disks()
    told: list[tuple[int, int]] = []
    await HANDLERS[FetchDisk](JOB, guest, context(here, Shaky(there, 0), told))
    size = (await there.read_disk(guest.id)).size
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert len(told) > 1
    assert told[-1] == (size, size)


async def test_it_begins_anew_where_the_other_agent_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migration, "PAUSES", (0.0, 0.0))
    there, here, guest = await disks()
    await HANDLERS[FetchDisk](JOB, guest, context(here, Shaky(there, 2), []))
    assert await has_disk(here, guest)


async def test_it_gives_up_where_that_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migration, "PAUSES", (0.0, 0.0))
    there, here, guest = await disks()
    with pytest.raises(DriverError) as caught:
        await HANDLERS[FetchDisk](JOB, guest, context(here, Shaky(there, 3), []))
    assert caught.value.code == "host-unreachable"
    assert not await has_disk(here, guest)


async def test_cut_off_in_the_middle_it_leaves_nothing() -> None:
    there, here, guest = await disks()
    shaky = Shaky(there, 0)
    shaky.gate = asyncio.Event()
    work = asyncio.ensure_future(HANDLERS[FetchDisk](JOB, guest, context(here, shaky, [])))
    await shaky.reached.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert not await has_disk(here, guest)
    assert await has_disk(there, guest)
