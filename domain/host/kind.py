"""The row of hosts in the table of kinds."""

from domain.host.state import Host, HostHealth, evolve
from domain.kind import DecidedBy, Kind, ListFilter

KIND = Kind(
    name="host",
    help="Machines that instances run on.",
    state=Host,
    evolve=evolve,
    decider="domain.scheduling.decider",
    decided_by=DecidedBy.SCHEDULER,
    filters=(
        ListFilter("zone", "in this zone", refers="zone", by_name=True),
        ListFilter("health", "in one of these states of health", several=True, values=tuple(HostHealth)),
    ),
)
