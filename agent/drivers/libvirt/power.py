"""A guest's power: run it, end it, and say what libvirt says of it.

Why waiting is done here and not in a thread: a guest may take a minute to power off, and the few threads that speak
to libvirt are for all guests of the host.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import libvirt

from agent.drivers.driver import DriverError, DriverFault
from agent.drivers.libvirt import xml
from agent.drivers.libvirt.host import GONE, LibvirtHost, look_up, unknown
from domain.guest_spec import Power
from infra.process import failpoints
from infra.process.error_text import text_of

POLL = 0.2
"""Seconds between looks at a guest that was asked to power off."""
ASK_AGAIN = 2.0
"""Seconds until a guest that still runs is asked again: one that is starting up does not hear the first time."""
AGENT_TIMEOUT = 5
"""Seconds a guest agent may take to answer."""
SHUTDOWN_BY = (libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN, libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT)
REBOOT_BY = (libvirt.VIR_DOMAIN_REBOOT_ACPI_POWER_BTN, libvirt.VIR_DOMAIN_REBOOT_GUEST_AGENT)
"""How a guest is asked: by its power button, and by its agent."""

POWER = {
    libvirt.VIR_DOMAIN_NOSTATE: Power.NONE,
    libvirt.VIR_DOMAIN_RUNNING: Power.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: Power.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: Power.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: Power.RUNNING,
    libvirt.VIR_DOMAIN_SHUTOFF: Power.SHUTDOWN,
    libvirt.VIR_DOMAIN_CRASHED: Power.CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: Power.SUSPENDED,
}
ROOM = 64 << 20
"""Bytes that must be free for a guest that its full disk stopped to go on: with less it would stop again at once."""
OFF = {Power.NONE, Power.SHUTDOWN, Power.CRASHED}

logger = logging.getLogger(__name__)


class LibvirtPower(LibvirtHost):
    """Adds the guests' power to a host."""

    async def start(self, instance_id: str) -> None:
        """Run the guest, after a look at its networks."""
        await self._run(instance_id)

    async def stop(self, instance_id: str, grace: float) -> None:
        """Press the power button until the guest is off, and pull the plug after `grace` seconds."""
        match await self.power(instance_id):
            case Power.PAUSED | Power.BLOCKED:
                await self.unpause(instance_id)
            case Power.SUSPENDED:
                await self._with(instance_id, _forget_memory)
        until = time.monotonic() + grace
        asked = 0
        ask_at = time.monotonic()
        while await self.power(instance_id) not in OFF:
            now = time.monotonic()
            if now >= until:
                await self._with(instance_id, turn_off)
                return
            if now >= ask_at:
                await self._ask(instance_id, asked, libvirt.virDomain.shutdownFlags, SHUTDOWN_BY)
                asked, ask_at = asked + 1, now + ASK_AGAIN
            await asyncio.sleep(POLL)

    async def reboot(self, instance_id: str, grace: float) -> None:
        """Press the power button so that the guest comes back, and reset it after `grace` seconds."""
        power = await self.power(instance_id)
        if power is not Power.RUNNING:
            await self.start(instance_id)
        if power in OFF:
            return
        before = self._reboots.setdefault(instance_id, 0)
        until = time.monotonic() + grace
        asked = 0
        ask_at = time.monotonic()
        try:
            while self._reboots[instance_id] == before:
                now = time.monotonic()
                if now >= until:
                    await self._with(instance_id, lambda domain: domain.reset(0))
                    break
                if now >= ask_at:
                    await self._ask(instance_id, asked, libvirt.virDomain.reboot, REBOOT_BY)
                    asked, ask_at = asked + 1, now + ASK_AGAIN
                await asyncio.sleep(POLL)
                if await self.power(instance_id) in OFF:
                    break
        finally:
            self._reboots.pop(instance_id, None)
        if await self.power(instance_id) in OFF:
            await self.start(instance_id)

    async def pause(self, instance_id: str) -> None:
        """Have QEMU stop the guest's processors."""
        await self._expect_storage(instance_id)
        await self._turn(instance_id, Power.PAUSED, libvirt.virDomain.suspend)

    async def unpause(self, instance_id: str) -> None:
        """Have QEMU run the guest's processors again."""
        await self._turn(instance_id, Power.RUNNING, libvirt.virDomain.resume)

    async def suspend(self, instance_id: str) -> None:
        """Have libvirt save the guest's memory where it looks for it when the guest is started."""

        def work(domain: libvirt.virDomain) -> bool:
            if domain.isActive():
                # So that it runs when it is resumed, even if it is paused now.
                domain.managedSave(libvirt.VIR_DOMAIN_SAVE_RUNNING)
            elif not domain.hasManagedSaveImage():
                raise DriverError(DriverFault.GUEST_OFF, f"guest {instance_id} is off")
            return True

        await self._expect_storage(instance_id)
        if not await self._with(instance_id, work):
            raise unknown(instance_id)

    async def resume(self, instance_id: str) -> None:
        """Start the guest, which libvirt does from the saved memory where there is some."""
        await self._run(instance_id, only_saved=True)

    async def unblock(self, instance_id: str) -> None:
        """Look at the file systems of the guest's disks, and have QEMU write again what it could not."""

        def work(domain: libvirt.virDomain) -> None:
            state, reason = domain.state()
            if _power(state, reason, saved=False) is not Power.BLOCKED:
                return
            # Of another error it would only be stopped again.
            errors = domain.diskErrors()
            full = set(errors.values()) == {libvirt.VIR_DOMAIN_DISK_ERROR_NO_SPACE}
            if full and all(_has_room(file) for file in xml.files_of(domain.XMLDesc(), errors)):
                domain.resume()

        await self._with(instance_id, work)

    async def power(self, instance_id: str) -> Power:
        """Tell the power of one guest by libvirt's word."""

        def work(connection: libvirt.virConnect) -> Power:
            domain = look_up(connection, instance_id)
            if domain is None:
                return Power.NONE
            try:
                state, reason = domain.state()
                return _power(state, reason, bool(domain.hasManagedSaveImage()))
            except libvirt.libvirtError as problem:
                if problem.get_error_code() in GONE:
                    return Power.NONE
                raise

        return await self._connection.call(work)

    async def guests(self) -> dict[str, Power]:
        """Tell the power of every guest that libvirt has from GoStack, in two calls."""

        def work(connection: libvirt.virConnect) -> dict[str, Power]:
            saved = {each.name() for each in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE)}
            return {
                domain.UUIDString(): _power(
                    said.get("state.state", 0), said.get("state.reason", 0), domain.name() in saved
                )
                for domain, said in connection.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE)
                if domain.name().startswith(xml.PREFIX)
            }

        return await self._connection.call(work)

    async def _run(self, instance_id: str, only_saved: bool = False) -> None:
        """Have the guest running; `only_saved`: not where it would start from nothing."""

        def work(connection: libvirt.virConnect) -> bool:
            domain = look_up(connection, instance_id)
            if domain is None:
                return False
            match domain.state()[0]:
                case libvirt.VIR_DOMAIN_RUNNING:
                    return True
                case libvirt.VIR_DOMAIN_PAUSED:
                    domain.resume()
                    return True
                case libvirt.VIR_DOMAIN_PMSUSPENDED:
                    domain.pMWakeup()
                    return True
            saved = bool(domain.hasManagedSaveImage())
            if only_saved and not saved:
                raise DriverError(DriverFault.GUEST_OFF, f"nothing was saved of guest {instance_id}")
            self._networks.ensure(xml.segments(domain.XMLDesc()))
            failpoints.point("libvirt-starting")
            _create(domain, saved)
            failpoints.point("libvirt-started")
            return True

        # A host without pools need not be asked twice for each start.
        if self._pools.ids and await self.power(instance_id) is not Power.RUNNING:
            await self._expect_storage(instance_id)
        if not await self._connection.call(work):
            raise unknown(instance_id)

    async def _turn(self, instance_id: str, power: Power, by: Callable[[libvirt.virDomain], object]) -> None:
        """Have a guest that is not off in this power, by this call."""

        def work(domain: libvirt.virDomain) -> bool:
            if not domain.isActive():
                raise DriverError(DriverFault.GUEST_OFF, f"guest {instance_id} is off")
            if POWER[domain.state()[0]] is not power:
                by(domain)
            return True

        if not await self._with(instance_id, work):
            raise unknown(instance_id)

    async def _ask(
        self, instance_id: str, asked: int, way: Callable[[libvirt.virDomain, int], object], by: tuple[int, int]
    ) -> None:
        """Ask by the power button, and every second time by the guest's agent where it listens."""

        def work(domain: libvirt.virDomain) -> None:
            button, agent = by
            if asked % 2 and xml.agent_connected(domain.XMLDesc()):
                domain.agentSetResponseTimeout(AGENT_TIMEOUT)
                way(domain, agent)
            else:
                way(domain, button)

        try:
            await self._with(instance_id, work)
        except DriverError as problem:
            if problem.code != DriverFault.HYPERVISOR_REFUSED:
                raise
            # It may have gone off in between, or be deaf: there is a next time, and the plug.
            logger.info("the guest could not be asked: %s", problem.for_operators())


def turn_off(domain: libvirt.virDomain) -> None:
    """Pull the guest's plug; one that is off is success. Raises libvirt's errors."""
    try:
        domain.destroy()
    except libvirt.libvirtError:
        if domain.isActive():
            raise


def _create(domain: libvirt.virDomain, saved: bool) -> None:
    try:
        domain.create()
    except libvirt.libvirtError as problem:
        if domain.isActive():
            return
        if saved and domain.hasManagedSaveImage():
            # Starting it without would lose what somebody meant to keep: that is not decided here.
            message = "the hypervisor cannot go on from the memory that it saved of the guest"
            raise DriverError(DriverFault.SAVED_MEMORY_UNUSABLE, message, text_of(problem)) from problem
        raise


def _forget_memory(domain: libvirt.virDomain) -> None:
    """Have a suspended guest be off: without the memory that was saved of it, or without the one it sleeps in."""
    if domain.isActive():
        turn_off(domain)
    elif domain.hasManagedSaveImage():
        domain.managedSaveRemove()


def _power(state: int, reason: int, saved: bool) -> Power:
    """Translate libvirt's state and reason; `saved`: its memory is kept in a file from which it can go on."""
    if state == libvirt.VIR_DOMAIN_SHUTOFF and saved:
        return Power.SUSPENDED
    if state == libvirt.VIR_DOMAIN_SHUTOFF and reason == libvirt.VIR_DOMAIN_SHUTOFF_CRASHED:
        return Power.CRASHED
    if state == libvirt.VIR_DOMAIN_PAUSED and reason == libvirt.VIR_DOMAIN_PAUSED_IOERROR:
        return Power.BLOCKED
    return POWER[state]


def _has_room(file: Path) -> bool:
    """Return whether a guest that goes on can write for a while into this file. Raises OSError."""
    space = os.statvfs(file)
    return space.f_bavail * space.f_frsize >= ROOM
