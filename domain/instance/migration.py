"""An instance's migration: from which host to which, and how far it is.

It is part of the instance's stream, since it dies with it; a read model of its own lists all of them.
"""

from datetime import datetime
from enum import StrEnum

from domain.core.messages import Model


class MigrationType(StrEnum):
    """How an instance is moved."""

    COLD = "cold"


class MigrationStatus(StrEnum):
    """How far a migration is."""

    ACCEPTED = "accepted"
    """No step is done yet."""
    PREPARING = "preparing"
    """The destination is chosen, and the guest is still where it was."""
    RUNNING = "running"
    """The guest is being moved."""
    FINISHED = "finished"
    """The guest is at its destination, to be confirmed or reverted."""
    CONFIRMING = "confirming"
    """What the host before keeps is being deleted: there is no way back."""
    CONFIRMED = "confirmed"
    REVERTED = "reverted"
    FAILED = "failed"


class Migration(Model):
    """One migration of an instance."""

    id: str
    """Of the task that migrates."""
    type: MigrationType
    status: MigrationStatus
    before: str
    """The instance's vm_state when it began."""
    source_id: str
    source_name: str
    destination_id: str = ""
    destination_name: str = ""
    created: datetime
    updated: datetime
