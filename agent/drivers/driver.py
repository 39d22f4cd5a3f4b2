"""The driver: everything that a hypervisor must be able to do for GoStack.

Why so narrow: everything that decides is in the domain; a driver only makes the host be so. Every method is safe to
call twice, and again after a crash in the middle: what is so already is success. Methods raise DriverError for what
went wrong on the host; anything else that escapes is a fault of the program. A class a capability; Driver is them all.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from domain.disk_source import VolumeSource
from domain.guest_spec import AttachedVolume, GuestSpec, ImageRef, Nic, Power
from domain.host.local_disks import LocalDisk
from domain.host.messages import Inventory
from domain.jobs.pool import PoolOnHost, PoolPlace
from domain.network.on_host import HostNetworks, RuleCount
from domain.network.port_settings import HostPorts


class DriverFault(StrEnum):
    """The codes of what drivers raise. They end up in tasks' errors, so none changes its meaning."""

    GUEST_UNKNOWN = "guest-unknown"
    """The hypervisor knows no such guest."""
    GUEST_OFF = "guest-off"
    """The guest has to run for this."""
    GUEST_ON = "guest-on"
    """The guest has to be off for this."""
    SAVED_MEMORY_UNUSABLE = "saved-memory-unusable"
    """The hypervisor cannot go on from what it saved of the guest; that is kept until the guest is started anew."""
    IMAGE_UNAVAILABLE = "image-unavailable"
    """The image is not in the store, or the store does not answer."""
    CHECKSUM_MISMATCH = "checksum-mismatch"
    """The file that the store gave is not the image."""
    IMAGE_UNSAFE = "image-unsafe"
    """The image's file is not what its format says, or points at other files."""
    DISK_TOO_SMALL = "disk-too-small"
    """The image does not fit on the disk."""
    DISK_DIFFERS = "disk-differs"
    """The instance has a disk, of another image."""
    DISK_MISSING = "disk-missing"
    """The instance has no disk on this host."""
    DISK_BUSY = "disk-busy"
    """The guest went on and off so often that its disk could not be copied."""
    DISK_DAMAGED = "disk-damaged"
    """The received copy of a disk differs from the one that was sent."""
    VOLUME_UNKNOWN = "volume-unknown"
    """The host has no file of the volume."""
    POOL_NOT_REACHED = "pool-not-reached"
    """The host does not find the pool where it should be: its storage is not there, hangs, or lets nobody in."""
    """The volume, or what it is to be a copy of, is in a kind of pool in which nothing is copied."""
    VOLUME_NOT_RELEASED = "volume-not-released"
    """The guest was asked to let go of the volume's disk, and did not."""
    VOLUME_BUSY = "volume-busy"
    """The volume's disk is still open somewhere: a guest of a host that is gone has it for half a minute."""
    VOLUME_DIFFERS = "volume-differs"
    """The host has a file of the volume already, of another size."""
    INTERFACE_NOT_RELEASED = "interface-not-released"
    """The guest was asked to let go of the network interface, and did not."""
    HYPERVISOR_UNREACHABLE = "hypervisor-unreachable"
    """The hypervisor's daemon does not answer; the next call tries again."""
    HYPERVISOR_REFUSED = "hypervisor-refused"
    """The hypervisor's daemon says no."""
    HOST_COMMAND_FAILED = "host-command-failed"
    """A program on the host failed, or took too long."""
    SECRET_GONE = "secret-gone"
    """The secret was told to the guest once, and is not kept any more."""
    SIMULATED_FAILURE = "simulated-failure"
    """The simulation was told to fail now and then."""


class DriverError(Exception):
    """The host could not do it. `code` is stable (a driver's are DriverFault).

    The text is for users, whose task shows it: a sentence without anything of the host's own. Its commands, paths and
    addresses, and what a program there printed, are `inside`, which goes to the agent's log alone.
    """

    def __init__(self, code: str, message: str, inside: str = "") -> None:
        super().__init__(message)
        self.code = str(code)
        self.inside = inside

    def for_operators(self) -> str:
        """Return the code, the text, and what only the host's operators are to know, as a line of the agent's log."""
        return f"{self.code}: {self}{f' ({self.inside})' if self.inside else ''}"


@dataclass(frozen=True)
class Secrets:
    """Secrets that a guest is told and nobody else: never logged, never in an event."""

    password: str = field(default="", repr=False)
    user_data: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class VncAddress:
    """Where a guest's display listens, and for how long its password holds."""

    host: str
    port: int
    password: str = field(repr=False)
    valid_seconds: int


@dataclass(frozen=True)
class DiskContent:
    """A disk's file on its way from one place to another."""

    size: int
    """Bytes of the file."""
    chunks: AsyncGenerator[bytes, None]
    """The bytes of the file in pieces; the receiver closes the generator."""
    told: Secrets = Secrets()
    """The secrets that the guest was told where the disk comes from."""


Progress = Callable[[int, int], None]
"""Told how many bytes of how many (0: not known) are done."""
Watcher = Callable[[str], Awaitable[None]]
"""Called with an instance's id when its guest may have changed by itself."""


class HostDriver(Protocol):
    """A hypervisor as a whole."""

    async def open(self, watcher: Watcher) -> None:
        """Connect, repair what a restart of the host took away, and call the watcher from now on."""

    async def close(self) -> None:
        """Let go of everything; guests run on."""

    async def inventory(self) -> Inventory:
        """Tell the processors, memory and disk that this host has in all."""


class DiskDriver(Protocol):
    """The part of a driver for the files that guests have on the host's disk."""

    async def prepare_image(self, image: ImageRef) -> None:
        """Have the image in the cache; "image-unavailable", "checksum-mismatch" or "image-unsafe"."""

    async def cached_images(self) -> list[str]:
        """Tell the checksums of the images in the cache."""

    async def drop_images(self, checksums: Collection[str]) -> list[str]:
        """Remove these images from the cache, and tell which were: not those that a disk of this host is based on."""

    async def create_disk(self, guest: GuestSpec) -> None:
        """Make the root disk, an overlay on the cached image, `guest.disk` bytes large (0: as large as the image).

        "image-unavailable", "disk-too-small", or "disk-differs" where there is one of another image.
        """

    async def delete_disk(self, instance_id: str) -> None:
        """Remove everything kept for the instance."""

    async def replace_disk(self, guest: GuestSpec) -> None:
        """Put the root disk aside and make one of `guest.image`, as create_disk() does; its errors.

        A disk that was put aside before stays there: drop_old_disk() first where that is another replacement's.
        """

    async def restore_disk(self, instance_id: str) -> None:
        """Put the disk that was put aside in the root disk's place; without one, the root disk stays."""

    async def drop_old_disk(self, instance_id: str) -> None:
        """Remove the disk that was put aside."""

    async def keep_disk(self, instance_id: str, progress: Progress) -> None:
        """Put the root disk of a guest that is off aside, and have a copy in its place; "guest-on", "disk-missing".

        A disk that was put aside before stays there, as for replace_disk(). Where it fails, or is cancelled, nothing of
        the copy is left.
        """

    async def grow_disk(self, instance_id: str, size: int) -> None:
        """Have the root disk of a guest that is off be `size` bytes large at least; "guest-on", "disk-missing"."""

    async def create_rescue_disk(self, instance_id: str, image: ImageRef) -> None:
        """Make the disk that a rescued guest boots from, an overlay on the cached image; one that is there is replaced.

        "image-unavailable".
        """

    async def delete_rescue_disk(self, instance_id: str) -> None:
        """Remove the rescue disk."""

    async def local_disks(self, instance_id: str) -> Sequence[LocalDisk]:
        """Tell the files of the instance on the host's own disk, the root disk first; "disk-missing"."""

    async def write_config_drive(self, guest: GuestSpec, secrets: Secrets) -> None:
        """Write what the metadata service tells the guest and, where it wants one, the ISO image that says the same.

        Where they say so already, nothing is done.
        """

    async def told(self, instance_id: str) -> Secrets | None:
        """Return the secrets that the guest was told, which are kept as long as its disk is; None where it was told
        nothing yet."""


class VolumeDriver(Protocol):
    """Disks on the host that outlive guests."""

    async def know_pools(self, places: Sequence[PoolPlace]) -> Sequence[PoolOnHost]:
        """Take over the pools that there are, and return what the host finds of each, within seconds."""

    async def pool_volumes(self, pool_id: str) -> Sequence[str]:
        """Tell the ids of the volumes whose disks there are in a pool. "pool-not-reached"."""

    async def create_volume(self, volume_id: str, size: int, pool_id: str = "") -> None:
        """Make an empty disk of `size` bytes, in a pool or on the host's own disk; one that is there keeps what is on
        it. "volume-differs", "pool-not-reached"."""

    async def copy_volume(
        self, volume_id: str, size: int, pool_id: str, source: ImageRef | VolumeSource, progress: Progress
    ) -> None:
        """Make a disk of `size` bytes that begins with all that is on an image of the cache, or on a volume or snapshot
        that no guest has; one that is there keeps what is on it.

        Where it fails, or is cancelled, nothing of the copy is left. "image-unavailable", "volume-unknown",
        "disk-too-small", "volume-differs", "pool-not-reached".
        """

    async def extend_volume(self, volume_id: str, size: int, instance_id: str, pool_id: str = "") -> None:
        """Have the disk be `size` bytes large, now where the guest of `instance_id` runs with it (empty: no guest has
        it). One that has the size is success; "volume-unknown", "pool-not-reached", or "volume-differs" where it is
        larger already."""

    async def delete_volume(self, volume_id: str, pool_id: str = "") -> None:
        """Remove the disk with all that is on it; one that is not there is success. "volume-busy",
        "pool-not-reached"."""

    async def attach_volume(self, instance_id: str, volume: AttachedVolume) -> None:
        """Give the guest the disk, now where it runs and whenever it starts; "guest-unknown", "volume-unknown",
        "pool-not-reached"."""

    async def detach_volume(self, instance_id: str, volume_id: str) -> None:
        """Take the disk from the guest; it is gone when this returns. "volume-not-released" where a guest that runs
        does not let go of it in time: then it has the disk, now and when it starts. A guest that is not known has none.
        """


class DiskTransferDriver(Protocol):
    """Root disks that move from host to host."""

    async def read_disk(self, instance_id: str) -> DiskContent:
        """Open the root disk's own file, without the image below it; "disk-missing", or "guest-on" where it changes."""

    async def receive_disk(self, guest: GuestSpec, content: DiskContent) -> None:
        """Have the root disk be this content, on top of this host's cached image; one that is there is replaced.

        Where it fails, is cancelled, or `content.chunks` raises, nothing of the content is left.
        "image-unavailable", or "disk-damaged" where the content is shorter or longer than its size.
        """


class CaptureDriver(Protocol):
    """Copies of disks that are in use, and disks made of them."""

    def capture_disk(
        self, instance_id: str, progress: Progress, compress: bool = False
    ) -> AbstractAsyncContextManager[DiskContent]:
        """Make one standalone qcow2 file of the root disk and the image below it; there is nothing of it afterwards.

        The guest may run, stop and start meanwhile: the copy is of one moment. `compress`: with less bytes, where the
        guest is off. "disk-missing", "disk-busy".
        """

    async def unpack_disk(self, guest: GuestSpec, image: ImageRef, progress: Progress) -> None:
        """Make the root disk of an image that was captured of one: an overlay on the cached `guest.image`, with the
        bytes of `image`, `guest.disk` bytes large at least. A disk that is there stays.

        Where it fails, or is cancelled, nothing of it is left. "image-unavailable", "checksum-mismatch" or
        "image-unsafe".
        """


class NetworkDriver(Protocol):
    """Guests' networks on the host."""

    async def uplink_address(self) -> str:
        """Return the IPv4 address at which other hosts reach this host's networks; empty where it has no uplink."""

    async def tunnel_key(self) -> str:
        """Return the public key by which other hosts encrypt what they send here; empty where nothing is encrypted."""

    async def know_hosts(self, hosts: Mapping[str, str]) -> None:
        """Have the networks joined to those of these hosts (address of the uplink -> public key, or nothing), and to no
        others, and all their rules."""

    async def ports(self) -> tuple[str, list[tuple[str, str, str]]]:
        """Return the version of what the host knows of its guests' ports, and of each port the network's id, the
        address, and the instance's id."""

    async def know_ports(self, settings: HostPorts) -> None:
        """Let the guests' ports have these settings: security groups, further addresses, limits of bandwidth."""

    async def rule_counters(self, group: str = "") -> Mapping[str, RuleCount]:
        """Return how much each rule of a security group has permitted since the host has had it, by the rule's id; of
        all groups where none is named."""

    async def networks(self) -> HostNetworks | None:
        """Return the networks that the host keeps, and how what it has of them differs; None where it keeps none."""

    async def plug(self, guest: GuestSpec) -> None:
        """Make the guest's networks on this host, joined to the other hosts', with its fixed addresses."""

    async def unplug(self, guest: GuestSpec) -> None:
        """Remove the guest's addresses, and each network that no guest here uses any more."""

    async def attach_interface(self, guest: GuestSpec, nic: Nic) -> None:
        """Give the guest one more interface, plugged, now where it runs and whenever it starts; "guest-unknown"."""

    async def detach_interface(self, guest: GuestSpec, nic: Nic) -> None:
        """Take the interface from the guest, and unplug it. "interface-not-released" where a guest that runs does not
        let go of it in time: then it has the interface, now and when it starts. A guest that is not known has none.
        """


class DefinitionDriver(Protocol):
    """The part of a driver for the definitions of guests."""

    async def define(self, guest: GuestSpec) -> None:
        """Tell the hypervisor about the guest; a definition that is there is replaced.

        Where it has a rescue image it boots from its rescue disk, and has its own root disk second. Where it has a root
        volume, that is its root disk.
        """

    async def undefine(self, instance_id: str) -> None:
        """Turn the guest off at once and forget its definition."""


class PowerDriver(Protocol):
    """The part of a driver for the power of guests: whether they run, stand still or are off."""

    async def start(self, instance_id: str) -> None:
        """Run the guest; one that is paused or suspended goes on. "guest-unknown", "saved-memory-unusable"."""

    async def stop(self, instance_id: str, grace: float) -> None:
        """Ask the guest to power off; turn it off after `grace` seconds. One that is not known is off.

        One that is paused goes on first, so that it hears. One that is suspended loses its saved memory.
        """

    async def reboot(self, instance_id: str, grace: float) -> None:
        """Ask the guest to reboot; reset it where it does not within `grace` seconds. One that is off is started.

        One that is paused or suspended goes on first. "guest-unknown", "saved-memory-unusable".
        """

    async def pause(self, instance_id: str) -> None:
        """Stop the guest's processors; "guest-unknown" or "guest-off"."""

    async def unpause(self, instance_id: str) -> None:
        """Let a paused guest's processors go on; "guest-unknown" or "guest-off"."""

    async def suspend(self, instance_id: str) -> None:
        """Save the guest's memory to disk and end it; "guest-unknown" or "guest-off"."""

    async def resume(self, instance_id: str) -> None:
        """Run a suspended guest from where it was; one that runs, or is paused, runs.

        "guest-unknown", "guest-off" where nothing was saved, "saved-memory-unusable". What was saved is never thrown
        away here: undefine() and stop() do that.
        """

    async def unblock(self, instance_id: str) -> None:
        """Have a guest go on that a full file system stopped, where that has room now; others stay as they are."""

    async def power(self, instance_id: str) -> Power:
        """Tell the power of one guest by the hypervisor's word; NONE where it knows none."""

    async def guests(self) -> dict[str, Power]:
        """Tell the power of every guest that GoStack has made, by instance id."""


class DisplayDriver(Protocol):
    """The part of a driver for consoles and displays of guests."""

    async def console_log(self, instance_id: str, most: int) -> bytes:
        """The last `most` bytes of the guest's serial console; empty where it has written none."""

    async def vnc(self, instance_id: str, valid_seconds: int) -> VncAddress:
        """A fresh password for the guest's display, and where it is; "guest-unknown" or "guest-off"."""


class Driver(
    HostDriver,
    DiskDriver,
    DiskTransferDriver,
    CaptureDriver,
    VolumeDriver,
    NetworkDriver,
    DefinitionDriver,
    PowerDriver,
    DisplayDriver,
    Protocol,
):
    """The hypervisor of one host, with all its parts."""
