"""A hypervisor that is not there: for tests, for trying the rest of GoStack on any machine, and for scale.

Why so light: one process carries thousands of such hosts, so a guest is a small record, nothing runs in between, and
only a host that is given a file keeps anything beyond its process.
"""

import asyncio
import json
import random
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Self

from agent.drivers.driver import DiskContent, DriverError, DriverFault, Progress, Secrets, VncAddress, Watcher
from agent.drivers.simulated.guest import SimulatedGuest, kept_form
from agent.drivers.simulated.kept import open_kept
from agent.drivers.simulated.volumes import OFF, SimulatedVolumes
from domain.disk_source import SECTOR
from domain.guest_spec import GuestSpec, ImageRef, Nic, Power, serial_of
from domain.host.messages import Inventory
from domain.network.on_host import HostNetworks, RuleCount
from domain.network.port_settings import HostPorts
from domain.tasks.job import JOBS
from infra.process.settings import Settings

PIECE = 16
"""Bytes of a disk that are read at once."""
FIRST_DISPLAY = 5900
ROOMY = Inventory(vcpus=64, memory=256 << 30, disk=4 << 40, arch="x86_64", hypervisor="simulated")


class SimulatedDriver(SimulatedVolumes):
    """A host's guests as records, as a Driver."""

    def __init__(
        self,
        inventory: Inventory = ROOMY,
        latency: float = 0.0,
        failures: Mapping[str, float] | None = None,
        seed: str = "",
        path: Path | None = None,
        shared: dict[str, int] | None = None,
    ) -> None:
        """`latency`: seconds a job takes; `failures`: job name -> chance that it fails, drawn from `seed`;
        `path`: a file that keeps the guests when the process ends; `shared`: volumes in pools, volume id -> bytes,
        which hosts of one process have in common.

        Raises ValueError for a failure of what is no job.
        """
        if unknown := set(failures or ()) - set(JOBS):
            raise ValueError(f"no such jobs: {', '.join(sorted(unknown))}")
        self._inventory = inventory
        self._latency = latency
        self.failures = dict(failures or {})
        """Job name -> chance that it fails."""
        self._random = random.Random(seed)
        self._path = path
        self._kept: sqlite3.Connection | None = None
        self._watcher: Watcher | None = None
        self._guests: dict[str, SimulatedGuest] = {}
        self._images: set[str] = set()
        self.clinging: set[str] = set()
        """Ids of guests that let go of no disk while they run."""
        self._volumes: dict[str, int] = {}
        """Volume id -> bytes, of those on the host's own disk."""
        self._shared = {} if shared is None else shared

    @classmethod
    def of(cls, settings: Settings, host: str, path: Path | None = None, shared: dict[str, int] | None = None) -> Self:
        """A host as the settings describe simulated ones; its name seeds its chances."""
        agent = settings.agent
        return cls(latency=agent.latency, failures=agent.failures, seed=host, path=path, shared=shared)

    async def open(self, watcher: Watcher) -> None:
        """Read what was kept, and call the watcher from now on."""
        self._watcher = watcher
        if self._path is not None and self._kept is None:
            self._kept = open_kept(self._path)
            for instance_id, text in self._kept.execute("select id, guest from guests"):
                self._guests[instance_id] = SimulatedGuest(**json.loads(text))
            self._images = {checksum for (checksum,) in self._kept.execute("select checksum from images")}
            self._volumes = dict(self._kept.execute("select id, size from volumes"))

    async def close(self) -> None:
        """Let go of the file and of the watcher."""
        self._watcher = None
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    async def inventory(self) -> Inventory:
        """Tell the inventory that the driver was made with."""
        return self._inventory

    async def prepare_image(self, image: ImageRef) -> None:
        """Note that the image is here."""
        await self._pass("PrepareImage")
        self._images.add(image.checksum)
        if self._kept is not None:
            self._kept.execute("insert or ignore into images values (?)", (image.checksum,))

    async def cached_images(self) -> list[str]:
        """Tell the checksums that were noted."""
        return sorted(self._images)

    async def drop_images(self, checksums: Collection[str]) -> list[str]:
        """Forget these, but for those of which a disk is made."""
        used = {each for guest in self._guests.values() for each in (guest.disk, guest.old_disk, guest.rescue_disk)}
        dropped = sorted(self._images & set(checksums) - used)
        self._images -= set(dropped)
        if self._kept is not None:
            self._kept.executemany("delete from images where checksum = ?", [(each,) for each in dropped])
        return dropped

    async def create_disk(self, guest: GuestSpec) -> None:
        """Note that the guest has a disk."""
        await self._pass("CreateDisk")
        self._make_disk(guest)

    async def delete_disk(self, instance_id: str) -> None:
        """Forget disk and console."""
        await self._pass("DeleteDisk")
        had = self._guests.get(instance_id)
        if had is not None:
            had.disk, had.old_disk, had.rescue_disk, had.console, had.root = "", "", "", "", ""
            had.user_data, had.told = "", {}
            self._keep(instance_id)

    async def replace_disk(self, guest: GuestSpec) -> None:
        """Note that the guest has another disk, and which it had."""
        await self._pass("ReplaceDisk")
        had = self._guests.setdefault(guest.id, SimulatedGuest())
        if had.disk and not had.old_disk:
            had.disk, had.old_disk, had.old_size = "", had.disk, had.size
        self._make_disk(guest)

    async def restore_disk(self, instance_id: str) -> None:
        """The guest has its old disk."""
        await self._pass("RestoreDisk")
        had = self._guests.get(instance_id)
        if had is not None and had.old_disk:
            had.disk, had.size, had.old_disk = had.old_disk, had.old_size, ""
            self._keep(instance_id)

    async def drop_old_disk(self, instance_id: str) -> None:
        """Forget the old disk."""
        await self._pass("DropOldDisk")
        had = self._guests.get(instance_id)
        if had is not None:
            had.old_disk = ""
            self._keep(instance_id)

    async def keep_disk(self, instance_id: str, progress: Progress) -> None:
        """Note which disk the guest had, and that it has the same."""
        await self._pass("KeepDisk")
        had = self._with_disk(instance_id)
        if not had.old_disk:
            had.old_disk, had.old_size = had.disk, had.size
            self._keep(instance_id)

    async def grow_disk(self, instance_id: str, size: int) -> None:
        """Note how large the disk is."""
        await self._pass("GrowDisk")
        had = self._with_disk(instance_id)
        had.size = max(had.size, size)
        self._keep(instance_id)

    async def create_rescue_disk(self, instance_id: str, image: ImageRef) -> None:
        """Note that the guest has a rescue disk."""
        await self._pass("CreateRescueDisk")
        self._require_image(image)
        self._guests.setdefault(instance_id, SimulatedGuest()).rescue_disk = image.checksum
        self._keep(instance_id)

    async def delete_rescue_disk(self, instance_id: str) -> None:
        """Forget the rescue disk."""
        await self._pass("DeleteRescueDisk")
        had = self._guests.get(instance_id)
        if had is not None:
            had.rescue_disk = ""
            self._keep(instance_id)

    async def read_disk(self, instance_id: str) -> DiskContent:
        """The image that the disk was made of, and how often its guest has started."""
        had = self._with_disk(instance_id)
        content = f"{had.disk} {had.boots} {had.size}".encode()
        return DiskContent(len(content), _in_pieces(content), had.secrets or Secrets())

    async def receive_disk(self, guest: GuestSpec, content: DiskContent) -> None:
        """Note what came, once it is whole."""
        await self._pass("FetchDisk")
        async with aclosing(content.chunks) as chunks:
            came = b"".join([chunk async for chunk in chunks])
        if len(came) != content.size:
            raise DriverError(DriverFault.DISK_DAMAGED, f"of {content.size} bytes of a disk {len(came)} came")
        self._require_image(guest.image)
        checksum, boots, size = came.decode().split()
        had = self._guests.setdefault(guest.id, SimulatedGuest())
        had.disk, had.boots, had.size, had.told = checksum, int(boots), int(size), kept_form(content.told)
        self._keep(guest.id)

    @asynccontextmanager
    async def capture_disk(
        self, instance_id: str, progress: Progress, compress: bool = False
    ) -> AsyncIterator[DiskContent]:
        """The same bytes that another host would get, in a sector of a disk: an image store takes no text."""
        await self._pass("UploadDisk")
        had = self._has_disk(instance_id)
        content = f"{had.disk} {had.boots} {had.size}".encode().ljust(SECTOR, b"\0")
        progress(len(content), len(content))
        async with aclosing(_in_pieces(content)) as chunks:
            yield DiskContent(len(content), chunks)

    async def unpack_disk(self, guest: GuestSpec, image: ImageRef, progress: Progress) -> None:
        """Note the disk; what was on the one that the image was made of is not known here."""
        await self._pass("UnpackDisk")
        self._make_disk(guest)

    async def write_config_drive(self, guest: GuestSpec, secrets: Secrets) -> None:
        """Note what the guest is told."""
        named = {"name": guest.name, "hostname": guest.hostname, "public_key": guest.public_key}
        told = {**kept_form(secrets), **named, "metadata": guest.metadata, "macs": [nic.mac for nic in guest.nics]}
        had = self._guests.get(guest.id)
        if had is not None and had.told == told:
            return
        await self._pass("WriteConfigDrive")
        had = self._guests.get(guest.id)
        if had is None and guest.root_volume_id:
            had = self._guests[guest.id] = SimulatedGuest(root=guest.root_volume_id)
        if had is not None:
            had.told = told
            self._keep(guest.id)

    async def told(self, instance_id: str) -> Secrets | None:
        """The secrets in what was noted."""
        had = self._guests.get(instance_id)
        return had.secrets if had is not None else None

    async def uplink_address(self) -> str:
        """There are no networks to be reached."""
        return ""

    async def tunnel_key(self) -> str:
        """There is nothing to be encrypted."""
        return ""

    async def know_hosts(self, hosts: Mapping[str, str]) -> None:
        """There are no networks to be joined."""

    async def ports(self) -> tuple[str, list[tuple[str, str, str]]]:
        """There are no networks, and so no ports."""
        return "", []

    async def know_ports(self, settings: HostPorts) -> None:
        """There are no ports to be secured."""

    async def rule_counters(self, group: str = "") -> Mapping[str, RuleCount]:
        """There are no rules, and nothing is counted."""
        return {}

    async def networks(self) -> HostNetworks | None:
        """There are no networks, and no records of any."""
        return None

    async def plug(self, guest: GuestSpec) -> None:
        """There are no networks: a guest that is defined has its addresses."""
        await self._pass("PlugPorts")

    async def unplug(self, guest: GuestSpec) -> None:
        """There are no networks."""
        await self._pass("UnplugPorts")

    async def attach_interface(self, guest: GuestSpec, nic: Nic) -> None:
        """Note that the guest has the address."""
        await self._pass("AttachInterface")
        had, address = self._known(guest.id), f"{nic.ip}/{nic.prefix}"
        if address not in had.addresses:
            had.addresses = (*had.addresses, address)
            self._keep(guest.id)

    async def detach_interface(self, guest: GuestSpec, nic: Nic) -> None:
        """Note that the guest does not have the address: it lets go at once, unless it clings."""
        await self._pass("DetachInterface")
        had, address = self._guests.get(guest.id), f"{nic.ip}/{nic.prefix}"
        if had is None or address not in had.addresses:
            return
        if guest.id in self.clinging and had.power not in OFF:
            raise DriverError(
                DriverFault.INTERFACE_NOT_RELEASED, f"guest {guest.id} did not let go of its network interface"
            )
        had.addresses = tuple(each for each in had.addresses if each != address)
        self._keep(guest.id)

    async def define(self, guest: GuestSpec) -> None:
        """Note what the guest would say of itself."""
        await self._pass("DefineGuest")
        had = self._guests.setdefault(guest.id, SimulatedGuest())
        had.hostname = guest.hostname
        had.rescued = guest.rescue_image is not None
        had.root = guest.root_volume_id
        had.volumes = tuple(volume.id for volume in guest.volumes)
        had.addresses = tuple(f"{nic.ip}/{nic.prefix}" for nic in guest.nics)
        if not had.defined:
            had.power = Power.SHUTDOWN
        self._keep(guest.id)

    async def undefine(self, instance_id: str) -> None:
        """The guest is off, and unknown."""
        await self._pass("UndefineGuest")
        had = self._guests.get(instance_id)
        if had is not None:
            had.power, had.volumes = Power.NONE, ()
            self._keep(instance_id)

    async def start(self, instance_id: str) -> None:
        """The guest runs, and says so on its console."""
        await self._pass("StartGuest")
        guest = self._known(instance_id)
        if guest.power not in OFF:
            guest.power = Power.RUNNING
        elif not self._bootable(guest):
            raise DriverError(DriverFault.HYPERVISOR_REFUSED, f"guest {instance_id} has no disk")
        else:
            guest.power = Power.RUNNING
            guest.boot()
        self._keep(instance_id)

    async def stop(self, instance_id: str, grace: float) -> None:
        """The guest is off: simulated guests always listen."""
        await self._pass("StopGuest")
        guest = self._guests.get(instance_id)
        if guest is not None and guest.power not in OFF:
            guest.end()
            self._keep(instance_id)

    async def reboot(self, instance_id: str, grace: float) -> None:
        """The guest has started anew."""
        await self._pass("RebootGuest")
        guest = self._known(instance_id)
        guest.power = Power.RUNNING
        guest.boot()
        self._keep(instance_id)

    async def pause(self, instance_id: str) -> None:
        """The guest stands still."""
        await self._pass("PauseGuest")
        self._active(instance_id).power = Power.PAUSED
        self._keep(instance_id)

    async def unpause(self, instance_id: str) -> None:
        """The guest goes on."""
        await self._pass("UnpauseGuest")
        self._active(instance_id).power = Power.RUNNING
        self._keep(instance_id)

    async def suspend(self, instance_id: str) -> None:
        """The guest is off and remembers where it was."""
        await self._pass("SuspendGuest")
        if self._known(instance_id).power != Power.SUSPENDED:
            self._active(instance_id).power = Power.SUSPENDED
            self._keep(instance_id)

    async def resume(self, instance_id: str) -> None:
        """The guest goes on."""
        await self._pass("ResumeGuest")
        guest = self._known(instance_id)
        if guest.power in OFF:
            raise DriverError(DriverFault.GUEST_OFF, f"nothing was saved of guest {instance_id}")
        guest.power = Power.RUNNING
        self._keep(instance_id)

    async def unblock(self, instance_id: str) -> None:
        """Note that the guest runs, where it was noted as blocked."""
        guest = self._guests.get(instance_id)
        if guest is not None and guest.power == Power.BLOCKED:
            guest.power = Power.RUNNING
            self._keep(instance_id)

    async def power(self, instance_id: str) -> Power:
        """Tell the power that was noted of one guest."""
        guest = self._guests.get(instance_id)
        return Power(guest.power) if guest is not None else Power.NONE

    async def guests(self) -> dict[str, Power]:
        """Tell the power that was noted of every guest that is defined."""
        return {instance_id: Power(guest.power) for instance_id, guest in self._guests.items() if guest.defined}

    def kept(self) -> list[str]:
        """Ids of the instances of which anything is here: a definition, or a disk."""
        return list(self._guests)

    async def console_log(self, instance_id: str, most: int) -> bytes:
        """The end of what the guest said."""
        guest = self._guests.get(instance_id)
        said = guest.console.encode() if guest is not None else b""
        return said[max(0, len(said) - most) :]

    async def vnc(self, instance_id: str, valid_seconds: int) -> VncAddress:
        """An address at which nothing listens."""
        self._active(instance_id)
        port = FIRST_DISPLAY + list(self._guests).index(instance_id)
        return VncAddress("127.0.0.1", port, f"{self._random.getrandbits(32):08x}", valid_seconds)

    def serials(self, instance_id: str) -> list[str]:
        """The serial numbers of the volumes that the guest has."""
        return [serial_of(volume_id) for volume_id in self._known(instance_id).volumes]

    def disk_size(self, instance_id: str) -> int:
        """How large the guest's root disk is, in bytes."""
        return self._guests[instance_id].size

    def interfaces(self, instance_id: str) -> int:
        """How many network interfaces the guest has."""
        return len(self._known(instance_id).addresses)

    async def power_off_by_itself(self, instance_id: str, power: Power = Power.SHUTDOWN) -> None:
        """As when somebody in the guest turns it off, it crashes, or its disk is full: no job asked for it, and the
        watcher hears."""
        guest = self._known(instance_id)
        if guest.power not in OFF and power in OFF:
            guest.end()
        guest.power = power
        self._keep(instance_id)
        if self._watcher is not None:
            await self._watcher(instance_id)

    async def _pass(self, job: str) -> None:
        """Take the time that the job takes, and fail now and then. Raises DriverError "simulated-failure"."""
        if self._latency:
            await asyncio.sleep(self._latency)
        chance = self.failures.get(job, 0.0)
        if chance and self._random.random() < chance:
            raise DriverError(DriverFault.SIMULATED_FAILURE, f"{job} was to fail with a chance of {chance:g}")

    def _make_disk(self, guest: GuestSpec) -> None:
        self._require_image(guest.image)
        if guest.disk and guest.disk < guest.image.virtual_size:
            raise DriverError(
                DriverFault.DISK_TOO_SMALL,
                f"image {guest.image.name!r} needs {guest.image.virtual_size} bytes, the disk has {guest.disk}",
            )
        had = self._guests.setdefault(guest.id, SimulatedGuest())
        if had.disk not in ("", guest.image.checksum):
            raise DriverError(DriverFault.DISK_DIFFERS, f"guest {guest.id} has a disk already, of {had.disk}")
        if not had.disk:
            had.disk, had.size = guest.image.checksum, guest.disk or guest.image.virtual_size
        self._keep(guest.id)

    def _with_disk(self, instance_id: str) -> SimulatedGuest:
        """Return a guest that is off and has a disk."""
        had = self._has_disk(instance_id)
        if had.power not in OFF:
            raise DriverError(DriverFault.GUEST_ON, f"guest {instance_id} uses its disk")
        return had

    def _bootable(self, guest: SimulatedGuest) -> bool:
        """Whether the guest has the disk that it boots from."""
        if guest.rescued:
            return bool(guest.rescue_disk)
        return guest.root in guest.volumes if guest.root else bool(guest.disk)

    def _require_image(self, image: ImageRef) -> None:
        if image.checksum not in self._images:
            raise DriverError(DriverFault.IMAGE_UNAVAILABLE, f"image {image.name!r} is not on this host")

    def _known(self, instance_id: str) -> SimulatedGuest:
        guest = self._guests.get(instance_id)
        if guest is None or not guest.defined:
            raise DriverError(DriverFault.GUEST_UNKNOWN, f"the hypervisor knows no guest {instance_id}")
        return guest

    def _active(self, instance_id: str) -> SimulatedGuest:
        guest = self._known(instance_id)
        if guest.power not in (Power.RUNNING, Power.PAUSED):
            raise DriverError(DriverFault.GUEST_OFF, f"guest {instance_id} is off")
        return guest

    def _keep(self, instance_id: str) -> None:
        guest = self._guests[instance_id]
        disks = (guest.disk, guest.old_disk, guest.rescue_disk, guest.root)
        gone = not any(disks) and not guest.defined
        if gone:
            del self._guests[instance_id]
        if self._kept is None:
            return
        if gone:
            self._kept.execute("delete from guests where id = ?", (instance_id,))
        else:
            self._kept.execute("insert or replace into guests values (?, ?)", (instance_id, json.dumps(asdict(guest))))


async def _in_pieces(content: bytes) -> AsyncGenerator[bytes, None]:
    """In several, so that whoever takes them can be cut off in between."""
    for start in range(0, len(content), PIECE):
        await asyncio.sleep(0)
        yield content[start : start + PIECE]
