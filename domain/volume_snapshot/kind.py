"""The row of volumes' snapshots in the table of kinds."""

from domain.kind import Kind, ListFilter
from domain.volume_snapshot.actions import (
    ACTIONS,
    CreateVolumeSnapshot,
    DeleteVolumeSnapshot,
    UpdateVolumeSnapshot,
)
from domain.volume_snapshot.state import SnapshotStatus, VolumeSnapshot, evolve

STATUSES = tuple(sorted({*SnapshotStatus, *(action.during for action in ACTIONS.values() if action.during)}))
"""Every status that a snapshot can be shown in."""

KIND = Kind(
    name="volume-snapshot",
    help="Volumes as they were at a moment.",
    state=VolumeSnapshot,
    evolve=evolve,
    decider="domain.volume_snapshot.decider",
    actions=ACTIONS,
    create=CreateVolumeSnapshot,
    update=UpdateVolumeSnapshot,
    delete=DeleteVolumeSnapshot,
    filters=(
        ListFilter("status", "in one of these statuses", several=True, values=STATUSES, tells_deleted=True),
        ListFilter("volume", "of this volume (name or id)", column="volume_id", refers="volume"),
        ListFilter("host_id", "on this host (name or id)", refers="host"),
        ListFilter("pool", "in this pool (name or id)", column="pool_id", refers="pool"),
    ),
    hidden=frozenset({"became", "zone", "reached_by", "source_hosts"}),
    shown=("volume_name", "size", "pool_name", "host.name"),
)
