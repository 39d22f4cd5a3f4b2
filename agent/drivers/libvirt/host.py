"""A host's libvirt as all parts of its driver share it: connection, files, images, networks, who hears of changes."""

import asyncio
import logging
import os
import platform
import shutil
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Self, TypeVar

import libvirt

from agent.drivers.driver import DriverError, DriverFault, Watcher
from agent.drivers.libvirt import kvm, secrets, vendor_data, xml
from agent.drivers.libvirt.connection import Connection
from agent.drivers.libvirt.image_cache import ImageCache
from agent.drivers.libvirt.instance_files import HostFiles
from agent.drivers.network.guest_networks import GuestNetworks
from agent.drivers.pools import Pools
from agent.drivers.storage.files import FileVolumes
from agent.drivers.storage.rbd import secret_id
from agent.drivers.storage.store import DiskSource, VolumeStore
from domain.guest_spec import AttachedVolume
from domain.host.messages import Inventory
from infra.process import log_context
from infra.process.ranges import ranges
from infra.process.settings import Settings

COPIES = 2
"""Images that are copied side by side."""
GONE = {libvirt.VIR_ERR_NO_DOMAIN}
"""Codes of libvirt's errors that say that a guest is not there."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class LibvirtHost:
    """The state of a host that all parts of the driver work with; each part adds a capability to this class."""

    def __init__(
        self,
        uri: str,
        state: Path,
        store: str,
        token: str = "",
        address: str = "127.0.0.1",
        uplink: str = "",
        closed: Iterable[IPv4Network] = (),
        host_id: str = "",
        executor: Executor | None = None,
        vendor_data: Mapping[str, Any] | None = None,
        encrypt: bool = False,
    ) -> None:
        """`state`: directory for disks and cached images; `store`, `token`: where images come from (ImageCache);
        `address`: where displays listen; `uplink`: the interface to other hosts, empty where there are none; `closed`:
        ranges that no guest reaches by its network's way out; `host_id`: the id that the host is registered under;
        `vendor_data`: what the operator tells all guests (guest_metadata.documents); `encrypt`: whether what guests
        send to other hosts is encrypted."""
        self._vendor_data = vendor_data
        self._files = HostFiles(state.absolute())
        self._address = address
        self._executor = executor or ThreadPoolExecutor(8, thread_name_prefix="libvirt")
        self._copiers = ThreadPoolExecutor(COPIES, thread_name_prefix="images")
        self._images = ImageCache(self._files.cache, store, token, self._copiers)
        self._networks = GuestNetworks(state.absolute() / "networks", uplink, closed, host_id, encrypt)
        self._pools = Pools(state.absolute() / "pools.json", host_id)
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
    def of(cls, settings: Settings, token: str = "", host_id: str = "") -> Self:
        """The driver that the settings describe; `token` is the one between API and agents, `host_id` the host's."""
        agent = settings.agent
        executor = ThreadPoolExecutor(agent.parallel + 2, thread_name_prefix="libvirt")
        return cls(
            uri=agent.libvirt_uri,
            state=Path(agent.state),
            store=settings.images.store,
            token=token,
            address=agent.address,
            uplink=agent.uplink,
            closed=ranges(agent.closed),
            host_id=host_id,
            executor=executor,
            vendor_data=vendor_data.read(agent.vendor_data),
            encrypt=agent.encrypt,
        )

    async def open(self, watcher: Watcher) -> None:
        """Connect, have the networks of defined guests running, and call the watcher from now on."""
        self._loop = asyncio.get_running_loop()
        await self._connection.run(self._prepare)
        await self._connection.run(self._networks.repair)
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
        self._pools.close()
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

    def _prepare(self) -> None:
        self._files.make()
        self._images.clean()
        self._cache = "none" if _writes_directly(self._files.state) else "writeback"

    async def _on_volumes(self, pool_id: str, work: Callable[[VolumeStore], T]) -> T:
        """Run work on the volumes of a pool, or (empty) of the host's own disk, in a thread, and return its result.

        Raises DriverError "pool-not-reached", or what the work raises.
        """
        if pool_id:
            return await self._pools.run(pool_id, work)
        return await self._connection.run(lambda: work(FileVolumes(self._files.volumes)))

    async def _sources(self, volumes: Iterable[AttachedVolume]) -> dict[str, DiskSource]:
        """Return where the hypervisor finds each of these volumes, by id; it knows the secrets for them then.

        Raises DriverError "pool-not-reached".
        """
        found = {}
        for each in volumes:
            source = await self._on_volumes(each.pool_id, partial(_disk, each.id))
            if source.secret is not None:
                await self._connection.call(partial(secrets.keep, source.secret))
            found[each.id] = source
        return found

    async def _expect_storage(self, instance_id: str) -> None:
        """Look whether all of Ceph answers in which the guest has disks. Raises DriverError "pool-not-reached".

        Where it does not, libvirt's calls that start, pause or save such a guest, or take a disk from it, wait until it
        does, and each keeps one of the few threads that are for all guests.
        """
        known = {secret_id(each): each for each in sorted(self._pools.ids)}
        needed = await self._with(instance_id, lambda domain: xml.secrets_of(domain.XMLDesc())) if known else None
        for secret in known.keys() & (needed or set()):
            await self._pools.run(known[secret], lambda store: store.expect_reached())

    def _machine(self) -> xml.Machine:
        """Return the part of a definition that is the same for all guests of the host."""
        return xml.Machine(self._kvm, self._address, self._networks.uplink.mtu(), self._cache)

    async def _with(self, instance_id: str, work: Callable[[libvirt.virDomain], T]) -> T | None:
        """Run `work` on the guest in a thread, and return its result; None where there is none."""

        def found(connection: libvirt.virConnect) -> T | None:
            domain = look_up(connection, instance_id)
            if domain is None:
                return None
            try:
                return work(domain)
            except libvirt.libvirtError as problem:
                if problem.get_error_code() in GONE:
                    return None
                raise

        return await self._connection.call(found)

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


def _disk(volume_id: str, store: VolumeStore) -> DiskSource:
    return store.disk(volume_id)


def look_up(connection: libvirt.virConnect, instance_id: str) -> libvirt.virDomain | None:
    """Find a guest; None where libvirt knows none. Raises libvirt's other errors."""
    try:
        return connection.lookupByUUIDString(instance_id)
    except libvirt.libvirtError as problem:
        if problem.get_error_code() in GONE:
            return None
        raise


def unknown(instance_id: str) -> DriverError:
    """Make the error that says that libvirt knows no such guest."""
    return DriverError(DriverFault.GUEST_UNKNOWN, f"the hypervisor knows no guest {instance_id}")


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
