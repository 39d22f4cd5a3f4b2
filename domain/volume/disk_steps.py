"""Steps of tasks on a disk, which is a volume or a snapshot of one: arguments of the jobs that make and remove it."""

from collections.abc import Iterator
from typing import Any, Protocol

from domain.copied_disk import CopiedDisk
from domain.disk_source import SourceKind, VolumeSource
from domain.guest_spec import ImageRef


class Copy(Protocol):
    """A disk that may be a copy of something."""

    @property
    def id(self) -> str:
        """The disk's id, which its file is named by."""

    @property
    def size(self) -> int:
        """Size of the disk, in bytes."""

    @property
    def pool_id(self) -> str:
        """Id of its pool; empty: its host's own disk."""

    @property
    def image(self) -> ImageRef | None:
        """The image that its data begins as; None: it is empty."""

    @property
    def source(self) -> VolumeSource | None:
        """The thing that is copied; None: the disk begins empty."""


def source_to_hold(disk: Copy, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step with the volume or the snapshot that the disk is a copy of, where it is one."""
    if disk.source is not None and disk.source.kind is not SourceKind.IMAGE:
        yield {"source": disk.source.key}


def copied_file(disk: Copy, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step with the disk's id, size, pool and source, for one that is a copy."""
    if disk.source is not None:
        of_image = {"image": disk.image} if disk.source.kind is SourceKind.IMAGE else {}
        yield {"volume_id": disk.id, "size": disk.size, "pool_id": disk.pool_id, "source": disk.source, **of_image}


def space(disk: CopiedDisk, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step with the disk's pool and size, where it is in one."""
    if disk.pool_id:
        yield {"pool_id": disk.pool_id, "size": disk.size}


def space_held(disk: CopiedDisk, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step with the disk's pool, where it is in one."""
    if disk.pool_id:
        yield {"pool_id": disk.pool_id}


def file_if_hosted(disk: CopiedDisk, command: Any) -> Iterator[dict[str, Any]]:
    """Yield a step with the disk's id and pool where it has a host, and so may have a file."""
    if disk.host is not None:
        yield {"volume_id": disk.id, "pool_id": disk.pool_id}
