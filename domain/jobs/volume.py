"""Jobs for a volume's file on its host's disk, and for giving an instance a volume and taking it back."""

from typing import Annotated, Any, Literal

from domain.core.fields import PERSONAL
from domain.core.messages import Command, Key, Message
from domain.disk_source import VolumeSource
from domain.guest_spec import AttachedVolume, ImageRef
from domain.tasks.job import AggregateJob, Fact, HostJob, Where
from domain.tasks.messages import Reply
from domain.tasks.task import Task


class ReserveForInstance(Command):
    """Let one instance, and no other, have the volume."""

    kind = "volume"

    reply: Reply
    instance_id: str
    host_id: str
    """Where the instance is: a volume on another host cannot be had there."""
    read_only: bool = False
    """Whether its guest only reads it."""


class ReleaseFromInstance(Command):
    """The instance has the volume no more."""

    kind = "volume"

    reply: Reply
    instance_id: str


class MakeForInstance(Command):
    """Be made as a copy, for one instance to boot from."""

    kind = "volume"

    reply: Reply
    instance_id: str
    project: str
    name: Annotated[str, PERSONAL]
    size: int
    """Size of the volume, in bytes."""
    source: VolumeSource
    image: ImageRef
    """The image that its data begins as."""
    pool_id: str = ""
    """Id of the pool to be in; empty: the host's own disk."""
    host_id: str
    """Id of the instance's host."""
    cell: str


class DiscardForInstance(Command):
    """The instance has the volume no more, and nobody needs it."""

    kind = "volume"

    reply: Reply
    instance_id: str


class NoteSnapshot(Command):
    """Count the snapshot among the volume's own."""

    kind = "volume"

    reply: Reply
    snapshot_id: str


class DropSnapshot(Command):
    """Count the snapshot among the volume's own no more."""

    kind = "volume"

    reply: Reply
    snapshot_id: str


class NoteVolumeSize(Command):
    """Note the size of a volume that was extended; an instance that does not have the volume notes nothing."""

    kind = "instance"

    reply: Reply
    volume_id: str
    size: int
    """Size of the volume, in bytes."""


class CreateVolumeFile(HostJob):
    """Make the volume's file, empty; one that is there keeps what is on it."""

    volume_id: str
    size: int
    """Size of the file, in bytes."""
    pool_id: str = ""
    """Id of the pool to make it in; empty: the host's own disk."""


class ExtendVolumeFile(HostJob):
    """Make the volume's file larger, at once for the guest that has it and runs; one that is as large is success."""

    attempts = 5

    volume_id: str
    size: int
    """Size of the file afterwards, in bytes."""
    instance_id: str = ""
    """Id of the instance that has the volume; empty: none."""
    pool_id: str = ""
    """Id of the pool that it is in; empty: the host's own disk."""


class TellVolumeSize(AggregateJob):
    """Tell the instance that has the volume how large that is now."""

    deadline = 30.0
    attempts = 5

    volume_id: str
    size: int
    instance_id: str

    def message(self, subject: Any, task: Task, reply: Reply, where: Where) -> tuple[Key, Message]:
        """Return the command that notes the size."""
        return Key("instance", self.instance_id), NoteVolumeSize(reply=reply, volume_id=self.volume_id, size=self.size)


class DeleteVolumeFile(HostJob):
    """Remove the volume's file; one that is not there is success."""

    attempts = 5

    volume_id: str
    pool_id: str = ""
    """Id of the pool that it is in; empty: the host's own disk."""


class ReserveVolume(AggregateJob):
    """Have the volume reserved for the instance: refused where another one has it, or it is on another host."""

    deadline = 30.0
    attempts = 3

    volume_id: str
    read_only: bool = False
    """Whether the guest only reads it."""

    def message(self, subject: Any, task: Task, reply: Reply, where: Where) -> tuple[Key, Message]:
        """The volume is asked for."""
        host = subject.host_at(where)
        command = ReserveForInstance(
            reply=reply, instance_id=subject.id, host_id=host.id if host else "", read_only=self.read_only
        )
        return Key("volume", self.volume_id), command


class ReleaseVolume(AggregateJob):
    """Give the volume back, so that another instance can have it; one that is not had is success."""

    deadline = 30.0
    attempts = 5

    volume_id: str

    def message(self, subject: Any, task: Task, reply: Reply, where: Where) -> tuple[Key, Message]:
        """The volume is told that the instance has it no more."""
        return Key("volume", self.volume_id), ReleaseFromInstance(reply=reply, instance_id=subject.id)


class MakeVolume(AggregateJob):
    """Have the volume made that the instance is to boot from, on its host or in a pool; it is reserved for it at once.

    One attempt, whose answer comes when the volume's own task has ended, however long that copies.
    """

    deadline = 6 * 3600.0
    attempts = 1

    volume_id: str

    def message(self, subject: Any, task: Task, reply: Reply, where: Where) -> tuple[Key, Message]:
        """Return the command to the volume."""
        new, host = subject.root.new, subject.host_at(where)
        command = MakeForInstance(
            reply=reply,
            instance_id=subject.id,
            project=subject.project,
            name=new.name,
            size=new.size,
            source=new.source,
            image=subject.image,
            pool_id=new.pool_id,
            host_id=host.id if host else "",
            cell=subject.cell,
        )
        return Key("volume", self.volume_id), command


class DiscardVolume(AggregateJob):
    """Give the volume back and have it deleted; one that cannot be deleted is there and nobody's, as one that was
    detached. One that is not had is success."""

    deadline = 30.0
    attempts = 5

    volume_id: str

    def message(self, subject: Any, task: Task, reply: Reply, where: Where) -> tuple[Key, Message]:
        """Return the command to the volume."""
        return Key("volume", self.volume_id), DiscardForInstance(reply=reply, instance_id=subject.id)


class AddSnapshot(AggregateJob):
    """Have the volume know of its snapshot, so that it is not deleted before that: refused where it has too many."""

    deadline = 30.0
    attempts = 3

    volume_id: str

    def message(self, subject: Any, task: Task, reply: Reply, where: Where) -> tuple[Key, Message]:
        """Return the command to the volume."""
        return Key("volume", self.volume_id), NoteSnapshot(reply=reply, snapshot_id=subject.id)


class RemoveSnapshot(AggregateJob):
    """Have the volume forget its snapshot; one that it does not know is success."""

    deadline = 30.0
    attempts = 5

    volume_id: str

    def message(self, subject: Any, task: Task, reply: Reply, where: Where) -> tuple[Key, Message]:
        """Return the command to the volume."""
        return Key("volume", self.volume_id), DropSnapshot(reply=reply, snapshot_id=subject.id)


class AttachVolume(HostJob):
    """Give the guest the volume as a disk, at once where it runs; one that it has is success."""

    volume_id: str


class DetachVolume(HostJob):
    """Take the disk from the guest, and wait until a guest that runs has let go of it; one that is gone is success."""

    deadline = 120.0

    volume_id: str
    force: bool = False
    """Whether a guest that does not let go is turned off, and started again without the disk."""


class VolumeGranted(Fact):
    """The volume is reserved for the instance."""

    fact: Literal["volume-granted"] = "volume-granted"
    volume: AttachedVolume

    def apply(self, subject: Any, where: Where) -> Any:
        """The instance, with the volume."""
        return subject.with_volume(self.volume)


class VolumeReturned(Fact):
    """The volume is not reserved for the instance any more."""

    fact: Literal["volume-returned"] = "volume-returned"
    volume_id: str

    def apply(self, subject: Any, where: Where) -> Any:
        """The instance, without the volume."""
        return subject.without_volume(self.volume_id)
