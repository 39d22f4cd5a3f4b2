"""The row of hosts in the table of kinds."""

from domain.host.state import Host, evolve
from domain.kind import DecidedBy, Kind

KIND = Kind(
    name="host",
    help="Machines that instances run on.",
    state=Host,
    evolve=evolve,
    decider="domain.scheduling.decider",
    decided_by=DecidedBy.SCHEDULER,
)
