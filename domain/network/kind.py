"""The row of networks in the table of kinds."""

from domain.kind import Kind
from domain.network.evolve import evolve
from domain.network.messages import DeleteNetwork, UpdateNetwork
from domain.network.state import Network

KIND = Kind(
    name="network",
    help="Networks of instances.",
    state=Network,
    evolve=evolve,
    update=UpdateNetwork,
    delete=DeleteNetwork,
    decider="domain.network.decider",
)
