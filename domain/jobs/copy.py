"""Jobs that copy data into a volume's file, and that hold what is copied so that it stays as it is meanwhile."""

from typing import Any, Literal

from domain.core.messages import Command, Key, Message
from domain.disk_source import VolumeSource
from domain.guest_spec import ImageRef
from domain.tasks.job import AggregateJob, Fact, HostJob, Where
from domain.tasks.messages import Reply
from domain.tasks.task import Task


class ReserveForCopy(Command):
    """Stay as you are while something is copied from you: neither attached, nor changed, nor deleted."""

    kind = "volume"

    reply: Reply
    holder: str
    """KIND/ID of what is being made of it."""


class ReleaseFromCopy(Command):
    """Be free again, as far as this holder goes: the copy is made, or given up."""

    kind = "volume"

    reply: Reply
    holder: str
    """KIND/ID of what was being made of it."""


class _SourceJob(AggregateJob):
    """A job that concerns what the aggregate is copied from."""

    abstract = True
    deadline = 30.0

    source: str
    """KIND/ID of what is copied."""


class ReserveSource(_SourceJob):
    """Hold what is copied as it is: refused where it is attached, busy, or gone."""

    attempts = 3

    def message(self, subject: Any, task: Task, reply: Reply, where: Where) -> tuple[Key, Message]:
        """Return the request to what is copied."""
        return Key.parse(self.source), ReserveForCopy(reply=reply, holder=reply.subject)


class ReleaseSource(_SourceJob):
    """Let go of what was copied; one that is not held is success."""

    attempts = 5

    def message(self, subject: Any, task: Task, reply: Reply, where: Where) -> tuple[Key, Message]:
        """Return the request to what was copied."""
        return Key.parse(self.source), ReleaseFromCopy(reply=reply, holder=reply.subject)


class FetchImage(HostJob):
    """Have an image in the host's cache, its checksum verified, for a copy of it."""

    deadline = 600.0

    image: ImageRef


class CopyToVolume(HostJob):
    """Make the volume's file, a copy of its source grown to the volume's size; one that is there stays as it is."""

    deadline = 600.0
    abortable = True

    volume_id: str
    size: int
    """Size of the file, in bytes."""
    source: VolumeSource
    image: ImageRef | None = None
    """The image to copy, where the source is one."""
    pool_id: str = ""
    """Id of the pool to make it in; empty: the host's own disk."""


class SourceReserved(Fact):
    """The source stays as it is, and these hosts reach it."""

    fact: Literal["source-reserved"] = "source-reserved"
    hosts: tuple[str, ...]
    """Ids of hosts of which one can make the copy."""

    def apply(self, subject: Any, where: Where) -> Any:
        """Return the aggregate, which is to be made on one of these hosts."""
        return subject.but(source_hosts=self.hosts)
