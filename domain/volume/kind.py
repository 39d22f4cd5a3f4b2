"""The row of volumes in the table of kinds."""

from domain.kind import Kind, ListFilter
from domain.volume.actions import ACTIONS, CreateVolume, DeleteVolume, UpdateVolume
from domain.volume.state import Volume, evolve

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
        ListFilter("status", "In one of these statuses.", several=True),
        ListFilter("host_id", "On this host (name or ID).", refers="host"),
        ListFilter("instance_id", "Of this instance (name or ID).", refers="instance"),
    ),
    hidden=frozenset({"became", "zone"}),
    shown=("status", "size", "host.name", "instance_id"),
)
