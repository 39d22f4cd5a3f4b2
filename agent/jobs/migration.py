"""The job that brings an instance's disk from another host."""

import asyncio

from agent.drivers.driver import DiskContent, DriverError
from agent.jobs.handler import Context, Facts, handles, telling
from agent.outside.other_hosts import UNREACHABLE
from domain.guest_spec import GuestSpec
from domain.jobs.migration import FetchDisk

PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds between attempts to reach an agent that does not answer: it is started again when it has died."""


@handles(FetchDisk)
async def fetch_disk(job: FetchDisk, guest: GuestSpec, context: Context) -> Facts:
    """Begun anew where the other agent goes away; of what came before nothing is kept."""
    for pause in PAUSES:
        try:
            await _fetch(job, guest, context)
            return ()
        except DriverError as problem:
            if problem.code != UNREACHABLE:
                raise
        await asyncio.sleep(pause)
    await _fetch(job, guest, context)
    return ()


async def _fetch(job: FetchDisk, guest: GuestSpec, context: Context) -> None:
    async with context.other_hosts.disk(job.endpoint, job.host_id, guest.id) as content:
        told = DiskContent(content.size, telling(content, context.progress), content.told)
        await context.driver.receive_disk(guest, told)
