"""The row of instances in the table of kinds."""

from domain.instance.actions import ACTIONS
from domain.instance.evolve import evolve
from domain.instance.state import Instance
from domain.kind import Kind

KIND = Kind(
    name="instance",
    help="Virtual machines.",
    state=Instance,
    evolve=evolve,
    decider="domain.instance.decider",
    actions=ACTIONS,
)
