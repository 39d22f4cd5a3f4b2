"""The observer: compares, again and again, every guest of a host with what was last reported of it.

Why beside the hypervisor's own events: these come quickly, but one can be lost; a full look finds what they missed. The
observer reports facts, and changes one thing: a guest that a full file system stopped goes on when there is room, for
which the hypervisor has no event. A hypervisor that does not answer says nothing about its guests.
"""

import asyncio
import logging
from collections.abc import Sequence

from agent.drivers.driver import DriverError
from agent.runner.runner import HostRunner
from agent.runner.staggered import take_turns
from domain.guest_spec import Power
from infra.process import log_context
from infra.process.error_text import text_of

logger = logging.getLogger(__name__)


async def observe_guests(runner: HostRunner) -> None:
    """Compare every guest with what was last reported of it, and report the differences."""
    reported = runner.reported_guests()
    if not reported:
        return
    try:
        seen = await runner.driver.guests()
    except DriverError as error:
        with log_context.bound(host=runner.host.id):
            logger.warning(
                "the hypervisor of host %s does not list its guests: %s", runner.host.name, error.for_operators()
            )
        return
    for instance_id, before in reported.items():
        power = seen.get(instance_id, Power.NONE)
        if power is Power.BLOCKED and before is power and not runner.busy(instance_id):
            await _unblock(runner, instance_id)
        if power is not before:
            await observe_guest(runner, instance_id)


async def _unblock(runner: HostRunner, instance_id: str) -> None:
    """Have a guest go on that was reported as blocked, where it can, and report that it does."""
    try:
        await runner.driver.unblock(instance_id)
    except (DriverError, OSError) as error:
        with log_context.bound(host=runner.host.id, instance=instance_id):
            logger.warning("a guest stands still since its disk is full: %s", text_of(error))
        return
    await observe_guest(runner, instance_id)


async def observe_guest(runner: HostRunner, instance_id: str) -> None:
    """Ask the hypervisor for one guest's power and report it if it differs. Nothing is reported while a job works on
    the guest: the difference may be the job's own."""
    if runner.busy(instance_id):
        return
    dispatches_before = runner.dispatch_count(instance_id)
    try:
        power = await runner.driver.power(instance_id)
    except DriverError as error:
        with log_context.bound(host=runner.host.id, instance=instance_id):
            told = error.for_operators()
            logger.warning("the hypervisor of host %s does not give a guest's power: %s", runner.host.name, told)
        return
    await runner.observe(instance_id, power, dispatches_before)


async def observe_hosts(runners: Sequence[HostRunner], period: float) -> None:
    """Observe each host every `period` seconds, for ever; after a round that took longer, rest for as long."""
    await asyncio.sleep(period)
    await take_turns(runners, period, observe_guests, rest=period, name="guest-observer")
