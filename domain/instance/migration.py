"""Migration of an instance: its two hosts, its size before and after, and its status. A resize is one, too: it stays on
one host, or goes to another where that has no room for it.

It is part of the instance's stream, since it dies with it; a read model of its own lists all of them.
"""

from datetime import datetime
from enum import StrEnum

from domain.core.messages import Model
from domain.core.resources import Resources
from domain.guest_spec import FlavorRef


class MigrationType(StrEnum):
    """How an instance is moved to another host."""

    COLD = "cold"
    RESIZE = "resize"
    """The instance has another size afterwards, on the same host or on another."""


class MigrationStatus(StrEnum):
    """The stage that a migration is in."""

    ACCEPTED = "accepted"
    """No step is done yet."""
    PREPARING = "preparing"
    """The destination is chosen, and the guest is still where it was."""
    RUNNING = "running"
    """The guest is being moved."""
    FINISHED = "finished"
    """The guest is at its destination, to be confirmed or reverted."""
    CONFIRMING = "confirming"
    """The source host's copy, or the old disk, is being deleted: the migration cannot be reverted any more."""
    REVERTING = "reverting"
    """The destination's copy, or the new disk, is being deleted: the migration cannot be confirmed any more."""
    CONFIRMED = "confirmed"
    REVERTED = "reverted"
    FAILED = "failed"


class InstanceSize(Model):
    """The size of an instance: its flavor, and its root disk."""

    flavor: FlavorRef
    disk: int
    """Size of the root disk, in bytes."""

    def resources(self) -> Resources:
        """Return the resources that an instance of this size needs of a host."""
        return Resources(vcpus=self.flavor.core, memory=self.flavor.memory, disk=self.disk)

    def beside(self, kept: "InstanceSize") -> Resources:
        """Return the resources that it needs while it can go back to a size that it had on the same host: of processors
        and memory the larger amount, and room for both root disks."""
        now, then = self.resources(), kept.resources()
        return Resources(
            vcpus=max(now.vcpus, then.vcpus), memory=max(now.memory, then.memory), disk=now.disk + then.disk
        )


class Migration(Model):
    """A migration of an instance: to another host, or to another size."""

    id: str
    """Id of the task that migrates."""
    type: MigrationType
    status: MigrationStatus
    before: str
    """The instance's vm_state when the migration began."""
    source_id: str
    source_name: str
    destination_id: str = ""
    destination_name: str = ""
    """Name of the destination, which is the source where an instance is resized on its host; empty until known."""
    old_size: InstanceSize | None = None
    """Size before a resize; None: the size stays."""
    new_size: InstanceSize | None = None
    """Size after a resize; None: the size stays."""
    confirm_at: datetime | None = None
    """When it is confirmed automatically, unless it is reverted until then; None: never."""
    created: datetime
    updated: datetime
