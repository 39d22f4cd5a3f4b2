"""Places for volumes as the driver uses them: the host's own disk, a directory that hosts share, a Ceph cluster.

Why a Protocol: making, growing and removing a volume, and what a guest's definition says of its disk, are all that
differs from one kind of storage to the next.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
from xml.etree import ElementTree as ET

from agent.drivers.driver import DriverError, DriverFault
from domain.jobs.pool import PoolSpace


@dataclass(frozen=True)
class CephSecret:
    """A Ceph user's key, as libvirt keeps it for the guests that have disks of a pool."""

    uuid: str
    """libvirt's id of the secret, which follows from the pool's."""
    usage: str
    """The use of it, in words that no other secret of the host has."""
    key: bytes = field(repr=False)


@dataclass(frozen=True)
class DiskSource:
    """Where a hypervisor finds a volume: the part of a guest's disk that the volume's place decides."""

    type: str
    """Type of libvirt's disk: file or network."""
    source: ET.Element
    driver: Mapping[str, str]
    """Attributes of the disk's driver besides, or instead of, those of every disk."""
    secret: CephSecret | None = None
    """The secret that the hypervisor has to know before a guest has the disk."""


@dataclass(frozen=True)
class QemuDisk:
    """A disk as qemu-img reads or writes it."""

    name: str
    """A path, or what QEMU calls a disk that is no file."""
    format: str
    size: int
    """Size of the disk, in bytes; 0 where it is to be written."""


class VolumeStore(Protocol):
    """A place for volumes. Every method blocks, and raises DriverError "pool-not-reached" where it is a pool."""

    def create(self, volume_id: str, size: int) -> None:
        """Make an empty disk of `size` bytes; one that is there stays. Raises DriverError "volume-differs"."""

    def size(self, volume_id: str) -> int | None:
        """Return the size of a volume in bytes; None where there is none."""

    def extend(self, volume_id: str, size: int) -> None:
        """Have a volume that no guest has be `size` bytes large; one that is as large stays."""

    def delete(self, volume_id: str) -> None:
        """Remove a volume, and what a crash left of making it; one that is not there is success.

        Raises DriverError "volume-busy" where its place knows that somebody has it open.
        """

    def disk(self, volume_id: str) -> DiskSource:
        """Return where a hypervisor finds the volume, whether it is there or not."""

    def content(self, volume_id: str) -> QemuDisk | None:
        """Return a volume that no guest has, to be read; None where there is none."""

    def begin_copy(self, volume_id: str, size: int) -> QemuDisk | None:
        """Return what a copy is written to that is to be the volume, where nothing is yet; None where the volume is
        there. Raises DriverError "volume-differs", and "volume-busy" where an earlier copy is still written."""

    def finish_copy(self, volume_id: str, size: int) -> None:
        """Have the copy be `size` bytes large and safe on the storage, and be the volume."""

    def drop_copy(self, volume_id: str) -> None:
        """Remove a copy that has not become the volume; none is success."""

    def volumes(self) -> list[str]:
        """Return the ids of the volumes that are there."""


class PoolStore(VolumeStore, Protocol):
    """A pool as one host finds it."""

    def expect_reached(self) -> None:
        """Look for the pool as it is done before every use. Raises DriverError "pool-not-reached"."""

    def look(self, founds: bool) -> PoolSpace:
        """Return how the host finds the pool; where `founds`, write the pool's id into one that has none."""


def of_another_size(volume_id: str) -> DriverError:
    """Make the error that says that there is such a volume, and not the one that was asked for."""
    return DriverError(DriverFault.VOLUME_DIFFERS, f"volume {volume_id} is here already, of another size")
