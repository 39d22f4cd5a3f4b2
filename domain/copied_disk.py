"""Disks that others are copied from, and that stay as they are meanwhile: what volumes and their snapshots have in
common.

Why on the aggregate: whether a disk may be attached, extended or deleted is decided in its own stream, so that no copy
can begin beside that, and none is half of one state and half of another.
"""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Self

from domain.core.fields import PLAIN
from domain.core.messages import Event
from domain.core.resources import Resources
from domain.guest_spec import ImageRef
from domain.tasks.job import Where
from domain.tasks.placed import PlacedSubject


class CopiedDisk(PlacedSubject):
    """The state of a disk on a host or in a pool, which was copied from something or is copied to something."""

    size: int
    """Size of the disk, in bytes."""
    pool_id: str = ""
    """Id of the pool that it is in; empty: it is on its host's own disk."""
    pool_name: Annotated[str, PLAIN] = ""
    reached_by: tuple[str, ...] = ()
    """Ids of hosts that reached the pool when it got its space there."""
    image: ImageRef | None = None
    """The image that its data began as; None: it began empty."""
    source_hosts: tuple[str, ...] = ()
    """Ids of hosts that reach what it is copied from; none: any does, or it is copied from nothing."""
    copies: tuple[str, ...] = ()
    """KIND/ID of each thing that is being copied from it."""

    def resources(self, where: Where = Where.HERE) -> Resources:
        """Return the resources that the disk needs of a host: its size, even where its file is smaller yet; nothing
        where it is in a pool."""
        return Resources() if self.pool_id else Resources(disk=self.size)

    def in_pool(self, name: str, hosts: tuple[str, ...]) -> Self:
        """Return the disk with space in its pool, which these hosts reach."""
        return self.but(pool_name=name, reached_by=hosts)

    @property
    def among(self) -> tuple[str, ...]:
        """Ids of the hosts of which one makes the file; none: any."""
        both = tuple(each for each in self.reached_by if each in self.source_hosts)
        return both or self.source_hosts or self.reached_by

    @property
    def reach(self) -> tuple[str, ...]:
        """Ids of the hosts of which one can read it."""
        if self.pool_id:
            return self.reached_by
        return (self.host.id,) if self.host is not None else ()


class CopyEvent(Event):
    """A fact about a disk that others are copied from."""

    abstract: ClassVar[bool] = True
    kind = "copy"

    holder: str
    """KIND/ID of what is copied from the disk."""
    at: datetime


class CopyBegun(CopyEvent):
    """The disk stays as it is from now on, for something that is copied from it."""


class CopyEnded(CopyEvent):
    """The copy is made, or given up."""


def evolve_copies(now: Any, event: CopyEvent) -> Any:
    """Return the disk after the begin or the end of a copy."""
    others = tuple(each for each in now.copies if each != event.holder)
    return now.but(copies=(*others, event.holder) if isinstance(event, CopyBegun) else others)
