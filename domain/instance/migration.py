"""Migration of an instance: its two hosts, and its status.

It is part of the instance's stream, since it dies with it; a read model of its own lists all of them.
"""

from datetime import datetime
from enum import StrEnum

from domain.core.messages import Model


class MigrationType(StrEnum):
    """How an instance is moved to another host."""

    COLD = "cold"


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
    """The source host's copy is being deleted: the migration cannot be reverted any more."""
    CONFIRMED = "confirmed"
    REVERTED = "reverted"
    FAILED = "failed"


class Migration(Model):
    """A migration of an instance to another host."""

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
    created: datetime
    updated: datetime
