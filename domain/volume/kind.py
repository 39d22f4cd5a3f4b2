"""The row of volumes in the table of kinds."""

from domain.kind import Kind, ListFilter
from domain.volume.actions import ACTIONS, CreateVolume, DeleteVolume, UpdateVolume
from domain.volume.state import Volume, VolumeStatus, evolve

STATUSES = tuple(sorted({*VolumeStatus, *(action.during for action in ACTIONS.values() if action.during)}))
"""Every status that a volume can be shown in."""

KIND = Kind(
    name="volume",
    help="Disks that outlive instances.",
    state=Volume,
    evolve=evolve,
    decider="domain.volume.decider",
    actions=ACTIONS,
    create=CreateVolume,
    update=UpdateVolume,
    delete=DeleteVolume,
    filters=(
        ListFilter("status", "in one of these statuses", several=True, values=STATUSES, tells_deleted=True),
        ListFilter("host_id", "on this host (name or id)", refers="host"),
        ListFilter("pool", "in this pool (name or id)", column="pool_id", refers="pool"),
        ListFilter("instance_id", "of this instance (name or id)", refers="instance"),
    ),
    hidden=frozenset({"became", "zone", "reached_by", "source_hosts", "answer_to"}),
    shown=("size", "pool_name", "host.name", "instance_id"),
)
