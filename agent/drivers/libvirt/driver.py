"""The driver for libvirt and QEMU: KVM where the host has it, emulation where not.

Why waiting is done here and not in a thread: a guest may take a minute to power off, and the few threads that speak
to libvirt are for all guests of the host.
"""

import asyncio
import logging
import os
import platform
import secrets as random
import shutil
import string
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self, TypeVar
from xml.etree import ElementTree as ET

import libvirt

from agent.drivers.driver import DriverError, DriverFault, Secrets, VncAddress, Watcher
from agent.drivers.libvirt import (
    config_drive,
    console,
    guest_metadata,
    kvm,
    root_disk,
    xml,
)
from agent.drivers.libvirt.connection import Connection
from agent.drivers.libvirt.image_cache import ImageCache
from agent.drivers.libvirt.instance_files import HostFiles
from agent.drivers.network.guest_networks import GuestNetworks
from domain.guest_spec import GuestSpec, ImageRef, Power
from domain.host.messages import Inventory
from infra.process import failpoints, log_context
from infra.process.settings import Settings

POLL = 0.2
"""Seconds between looks at a guest that was asked to power off."""
ASK_AGAIN = 2.0
"""Seconds until a guest that still runs is asked again: one that is starting up does not hear the first time."""
AGENT_TIMEOUT = 5
"""Seconds a guest agent may take to answer."""
COPIES = 2
"""Images that are copied side by side."""
VNC_PASSWORD_LENGTH = 8
"""Characters; the protocol has no room for more."""
GONE = {libvirt.VIR_ERR_NO_DOMAIN}

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
OFF = {Power.NONE, Power.SHUTDOWN, Power.CRASHED}

T = TypeVar("T")

logger = logging.getLogger(__name__)


class LibvirtDriver:
    """A host's libvirt, as a Driver."""

    def __init__(
        self,
        uri: str,
        state: Path,
        store: str,
        token: str = "",
        address: str = "127.0.0.1",
        uplink: str = "",
        executor: Executor | None = None,
    ) -> None:
        """`state`: directory for disks and cached images; `store`, `token`: where images come from (ImageCache);
        `address`: where displays listen; `uplink`: the interface to other hosts, empty where there are none."""
        self._files = HostFiles(state.absolute())
        self._address = address
        self._executor = executor or ThreadPoolExecutor(8, thread_name_prefix="libvirt")
        self._copiers = ThreadPoolExecutor(COPIES, thread_name_prefix="images")
        self._images = ImageCache(self._files.cache, store, token, self._copiers)
        self._networks = GuestNetworks(uplink)
        self._connection = Connection(uri, self._executor, self._on_change, self._on_reboot)
        self._kvm = kvm.usable()
        self._cache = "none"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pump: asyncio.Task[None] | None = None
        self._probe: asyncio.Task[None] | None = None
        self._changed: dict[str, None] = {}
        self._any_changed = asyncio.Event()
        self._reboots: dict[str, int] = {}

    @classmethod
    def of(cls, settings: Settings, token: str = "") -> Self:
        """The driver that the settings describe; `token` is the one between API and agents."""
        agent = settings.agent
        executor = ThreadPoolExecutor(agent.parallel + 2, thread_name_prefix="libvirt")
        return cls(
            uri=agent.libvirt_uri,
            state=Path(agent.state),
            store=settings.images.store,
            token=token,
            address=agent.address,
            uplink=agent.uplink,
            executor=executor,
        )

    async def open(self, watcher: Watcher) -> None:
        """Connect, have the networks of defined guests running, and call the watcher from now on."""
        self._loop = asyncio.get_running_loop()
        await self._connection.run(self._prepare)
        await self._connection.call(self._networks.repair)
        self._probe = asyncio.create_task(self._learn_capabilities())
        self._pump = asyncio.create_task(self._tell(watcher))

    async def close(self) -> None:
        """Let go; guests run on."""
        for task in (self._pump, self._probe):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        self._pump = self._probe = None
        self._loop = None
        await asyncio.to_thread(self._connection.close)
        for executor in (self._executor, self._copiers):
            executor.shutdown(wait=False, cancel_futures=True)

    async def inventory(self) -> Inventory:
        """Processors by libvirt; memory by the kernel, since libvirt overlooks what was plugged in later; disk by the
        file system that has the instances."""

        def work(connection: libvirt.virConnect) -> Inventory:
            arch, _, processors, *_ = connection.getInfo()
            return Inventory(
                vcpus=processors,
                memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
                disk=shutil.disk_usage(self._files.state).total,
                arch=arch,
                hypervisor="kvm" if self._kvm else "qemu",
            )

        return await self._connection.call(work)

    async def prepare_image(self, image: ImageRef) -> None:
        """Copy and verify the image unless it is here."""
        await self._images.have(image)

    async def create_disk(self, guest: GuestSpec) -> None:
        """Make the overlay."""
        files = self._files.instance(guest.id)

        def work() -> None:
            files.make()
            root_disk.create(files.disk, guest.image, self._images.path(guest.image), guest.disk)
            failpoints.point("libvirt-disk-made")

        await self._connection.run(work)

    async def delete_disk(self, instance_id: str) -> None:
        """Remove the instance's directory."""

        def work() -> None:
            self._files.remove(instance_id)
            failpoints.point("libvirt-disk-gone")

        await self._connection.run(work)

    async def write_config_drive(self, guest: GuestSpec, secrets: Secrets) -> None:
        """Write the metadata documents and, where the guest wants one, the ISO image with them."""
        files = self._files.instance(guest.id)

        def work() -> None:
            files.make()
            documents = guest_metadata.documents(guest, secrets, self._networks.uplink.mtu())
            if guest.config_drive:
                config_drive.write(files.config_drive, documents)
                documents = guest_metadata.without_password(documents)
            guest_metadata.keep(files.told, documents)

        await self._connection.run(work)

    async def plug(self, guest: GuestSpec) -> None:
        """Have the guest's networks and its addresses in them."""

        def work(connection: libvirt.virConnect) -> None:
            self._networks.plug(connection, guest)
            failpoints.point("libvirt-half-plugged")
            for nic in guest.nics:
                self._files.give_address(nic.ip, guest.id)

        await self._connection.call(work)

    async def unplug(self, guest: GuestSpec) -> None:
        """Take its addresses away, and networks that have none left."""

        def work(connection: libvirt.virConnect) -> None:
            for nic in guest.nics:
                self._files.take_address(nic.ip, guest.id)
            failpoints.point("libvirt-half-unplugged")
            self._networks.unplug(connection, guest)

        await self._connection.call(work)

    async def define(self, guest: GuestSpec) -> None:
        """Define the guest, with a password for its display that nobody knows until one is asked for."""

        def work(connection: libvirt.virConnect) -> None:
            files = self._files.instance(guest.id)
            files.make()
            machine = xml.Machine(self._kvm, self._address, self._networks.uplink.mtu(), self._cache)
            backing = self._images.path(guest.image)
            connection.defineXML(xml.domain_xml(guest, files, backing, machine, _password()))
            failpoints.point("libvirt-defined")

        await self._connection.call(work)

    async def undefine(self, instance_id: str) -> None:
        """Turn the guest off at once and forget it, with all that libvirt keeps for it."""

        def work(domain: libvirt.virDomain) -> None:
            _turn_off(domain)
            failpoints.point("libvirt-destroyed")
            domain.undefineFlags(
                libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
                | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
                | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
                | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
            )
            failpoints.point("libvirt-undefined")

        await self._with(instance_id, work)

    async def start(self, instance_id: str) -> None:
        """Run the guest, after a look at its networks."""

        def work(connection: libvirt.virConnect) -> bool:
            domain = _look_up(connection, instance_id)
            if domain is None:
                return False
            match domain.state()[0]:
                case libvirt.VIR_DOMAIN_RUNNING:
                    return True
                case libvirt.VIR_DOMAIN_PAUSED:
                    domain.resume()
                    return True
            self._networks.ensure(connection, xml.networks(domain.XMLDesc()))
            failpoints.point("libvirt-starting")
            try:
                domain.create()
            except libvirt.libvirtError:
                if not domain.isActive():
                    raise
            failpoints.point("libvirt-started")
            return True

        if not await self._connection.call(work):
            raise _unknown(instance_id)

    async def stop(self, instance_id: str, grace: float) -> None:
        """Press the power button until the guest is off, and pull the plug after `grace` seconds."""
        until = time.monotonic() + grace
        asked = 0
        ask_at = time.monotonic()
        while await self.power(instance_id) not in OFF:
            now = time.monotonic()
            if now >= until:
                await self._with(instance_id, _turn_off)
                return
            if now >= ask_at:
                await self._ask(instance_id, asked, libvirt.virDomain.shutdownFlags, SHUTDOWN_BY)
                asked, ask_at = asked + 1, now + ASK_AGAIN
            await asyncio.sleep(POLL)

    async def reboot(self, instance_id: str, grace: float) -> None:
        """Press the power button so that the guest comes back, and reset it after `grace` seconds."""
        power = await self.power(instance_id)
        if power in OFF:
            await self.start(instance_id)
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

    async def power(self, instance_id: str) -> Power:
        """What libvirt says of one guest."""

        def work(connection: libvirt.virConnect) -> Power:
            domain = _look_up(connection, instance_id)
            if domain is None:
                return Power.NONE
            try:
                state, reason = domain.state()
            except libvirt.libvirtError as problem:
                if problem.get_error_code() in GONE:
                    return Power.NONE
                raise
            return _power(state, reason)

        return await self._connection.call(work)

    async def guests(self) -> dict[str, Power]:
        """What libvirt says of every guest that it has from us, in one call."""

        def work(connection: libvirt.virConnect) -> dict[str, Power]:
            return {
                domain.UUIDString(): _power(said.get("state.state", 0), said.get("state.reason", 0))
                for domain, said in connection.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE)
                if domain.name().startswith(xml.PREFIX)
            }

        return await self._connection.call(work)

    async def console_log(self, instance_id: str, most: int) -> bytes:
        """The end of what virtlogd has written for the guest."""
        files = self._files.instance(instance_id)
        return await self._connection.run(lambda: console.tail(files.console, most))

    async def vnc(self, instance_id: str, valid_seconds: int) -> VncAddress:
        """Give the running guest's display a new password that expires."""

        def work(domain: libvirt.virDomain) -> VncAddress:
            shown = xml.display(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE)) if domain.isActive() else None
            if shown is None:
                raise DriverError(DriverFault.GUEST_OFF, f"guest {instance_id} is off: it has no display")
            password = _password()
            until = datetime.now(UTC) + timedelta(seconds=valid_seconds)
            shown.set("passwd", password)
            shown.set("passwdValidTo", until.strftime("%Y-%m-%dT%H:%M:%S"))
            domain.updateDeviceFlags(ET.tostring(shown, encoding="unicode"), libvirt.VIR_DOMAIN_AFFECT_LIVE)
            return VncAddress(self._address, int(shown.get("port", "0")), password, valid_seconds)

        answer = await self._with(instance_id, work)
        if answer is None:
            raise _unknown(instance_id)
        return answer

    def _prepare(self) -> None:
        self._files.make()
        self._images.clean()
        self._cache = "none" if _writes_directly(self._files.state) else "writeback"

    async def _with(self, instance_id: str, work: Callable[[libvirt.virDomain], T]) -> T | None:
        """What `work` gives for the guest; None where there is none."""

        def found(connection: libvirt.virConnect) -> T | None:
            domain = _look_up(connection, instance_id)
            if domain is None:
                return None
            try:
                return work(domain)
            except libvirt.libvirtError as problem:
                if problem.get_error_code() in GONE:
                    return None
                raise

        return await self._connection.call(found)

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
            logger.info("the guest could not be asked: %s", problem)

    async def _learn_capabilities(self) -> None:
        """Have libvirt look at its QEMU now: on a host's first day that takes seconds, else of the first guest."""
        kind = "kvm" if self._kvm else "qemu"
        with suppress(DriverError):
            await self._connection.call(
                lambda connection: connection.getDomainCapabilities(None, platform.machine(), None, kind)
            )

    def _on_change(self, name: str) -> None:
        self._from_outside(self._note_change, name)

    def _on_reboot(self, name: str) -> None:
        self._from_outside(self._note_reboot, name)

    def _from_outside(self, note: Callable[[str], None], name: str) -> None:
        loop = self._loop
        if loop is not None and name.startswith(xml.PREFIX):
            # It may be closing at this very moment.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(note, name.removeprefix(xml.PREFIX))

    def _note_change(self, instance_id: str) -> None:
        self._changed[instance_id] = None
        self._any_changed.set()

    def _note_reboot(self, instance_id: str) -> None:
        if instance_id in self._reboots:
            self._reboots[instance_id] += 1
        self._note_change(instance_id)

    async def _tell(self, watcher: Watcher) -> None:
        # One entry for a guest however often it changed: there are never more than guests.
        while True:
            await self._any_changed.wait()
            self._any_changed.clear()
            while self._changed:
                instance_id = next(iter(self._changed))
                del self._changed[instance_id]
                try:
                    await watcher(instance_id)
                except Exception:
                    with log_context.bound(instance=instance_id):
                        logger.exception("nobody could be told of a change of a guest")


SHUTDOWN_BY = (libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN, libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT)
REBOOT_BY = (libvirt.VIR_DOMAIN_REBOOT_ACPI_POWER_BTN, libvirt.VIR_DOMAIN_REBOOT_GUEST_AGENT)


def _look_up(connection: libvirt.virConnect, instance_id: str) -> libvirt.virDomain | None:
    try:
        return connection.lookupByUUIDString(instance_id)
    except libvirt.libvirtError as problem:
        if problem.get_error_code() in GONE:
            return None
        raise


def _power(state: int, reason: int) -> Power:
    if state == libvirt.VIR_DOMAIN_SHUTOFF and reason == libvirt.VIR_DOMAIN_SHUTOFF_CRASHED:
        return Power.CRASHED
    return POWER[state]


def _turn_off(domain: libvirt.virDomain) -> None:
    try:
        domain.destroy()
    except libvirt.libvirtError:
        if domain.isActive():
            raise


def _unknown(instance_id: str) -> DriverError:
    return DriverError(DriverFault.GUEST_UNKNOWN, f"the hypervisor knows no guest {instance_id}")


def _password() -> str:
    return "".join(random.choice(string.ascii_letters + string.digits) for _ in range(VNC_PASSWORD_LENGTH))


def _writes_directly(directory: Path) -> bool:
    """Whether files there can be written past the host's memory, which not every file system offers."""
    probe = directory / f".direct-{os.getpid()}"
    try:
        os.close(os.open(probe, os.O_CREAT | os.O_RDWR | os.O_DIRECT, 0o600))
    except OSError:
        return False
    finally:
        probe.unlink(missing_ok=True)
    return True
