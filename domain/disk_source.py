"""Sources of a volume's data: the image, the volume or the snapshot that it was copied from.

Why a copy and no overlay: a volume lives as long as it likes, on any storage, and what it came from can be deleted the
moment that the copy is made.
"""

from enum import StrEnum
from typing import Annotated

from domain.core.fields import PERSONAL
from domain.core.messages import Model
from domain.guest_spec import SMALLEST_DISK, ImageRef

SECTOR = 512


class SourceKind(StrEnum):
    """Kinds of what a volume can be copied from."""

    IMAGE = "image"
    VOLUME = "volume"
    SNAPSHOT = "volume-snapshot"


class DiskRef(Model):
    """A volume, or a snapshot of one, as it was at the time of the request."""

    id: str
    name: Annotated[str, PERSONAL]
    size: int
    """Size of the disk, in bytes."""
    pool_id: str = ""
    """Id of the pool that it is in; empty: it is on a host's own disk."""
    image: ImageRef | None = None
    """The image that its data began as; None: it began empty."""


class VolumeSource(Model):
    """The thing that a volume's data is a copy of."""

    kind: SourceKind
    id: str
    name: Annotated[str, PERSONAL]
    size: int
    """Bytes that a copy has at least."""
    pool_id: str = ""
    """Id of the pool that it is in; empty: it is an image, or on a host's own disk."""

    @property
    def key(self) -> str:
        """The thing as KIND/ID."""
        return f"{self.kind}/{self.id}"

    @classmethod
    def of_image(cls, image: ImageRef) -> "VolumeSource":
        """Return an image as a source."""
        least = max(image.virtual_size, image.min_disk, SMALLEST_DISK)
        whole = -(-least // SECTOR) * SECTOR
        return cls(kind=SourceKind.IMAGE, id=image.id, name=image.name, size=whole)

    @classmethod
    def of_disk(cls, kind: SourceKind, disk: DiskRef) -> "VolumeSource":
        """Return a volume or a snapshot as a source."""
        return cls(kind=kind, id=disk.id, name=disk.name, size=disk.size, pool_id=disk.pool_id)


class NewRoot(Model):
    """A volume that is made for an instance to boot from."""

    name: Annotated[str, PERSONAL]
    size: int
    """Size of the volume, in bytes."""
    source: VolumeSource
    pool_id: str = ""
    """Id of the pool that it is to be in; empty: the instance's host's own disk."""


class RootVolume(Model):
    """The volume that an instance boots from, in place of a local root disk."""

    id: str
    delete_on_termination: bool = False
    """Whether the volume is deleted when the instance is gone; else it is released, and keeps its data."""
    reached_by: tuple[str, ...] = ()
    """Ids of the hosts of which one reaches its pool; none: the instance is placed on its host by name."""
    new: NewRoot | None = None
    """How to make it, where the boot does; None: it is there."""
