"""Jobs that move an instance from its host (HERE) to another one (THERE), or take the second host away again."""

from typing import Any, Literal

from domain.core.messages import Command, Key, Message
from domain.guest_spec import Nic
from domain.tasks.job import AggregateJob, Fact, HostJob, Where
from domain.tasks.messages import Reply
from domain.tasks.task import Task


class NetworkPortCommand(Command):
    """A command to the network about the port of an instance that moves."""

    abstract = True
    kind = "network"

    reply: Reply
    nic: int
    port_id: str
    instance_id: str
    host_id: str


class PrepareNetworkPort(NetworkPortCommand):
    """Prepare a second host for the port's guest."""


class UnprepareNetworkPort(NetworkPortCommand):
    """Forget the second host of the port's guest."""


class MoveNetworkPort(NetworkPortCommand):
    """Bind the port to the instance on this host; its previous host becomes the second."""


class _PortJob(AggregateJob):
    """A command to a NIC's network about its port and a host."""

    abstract = True
    deadline = 30.0
    attempts = 5

    nic: int

    def _ask(self, command: type[NetworkPortCommand], subject: Any, reply: Reply, host: Where) -> tuple[Key, Message]:
        nic = subject.nics[self.nic]
        on = subject.host_at(host)
        message = command(
            reply=reply, nic=self.nic, port_id=nic.port_id, instance_id=subject.id, host_id=on.id if on else ""
        )
        return Key("network", nic.network_id), message


class PreparePort(_PortJob):
    """Have the NIC's network ready on the other host, beside the one that the guest is on."""

    def message(self, subject: Any, task: Task, reply: Reply, where: Where) -> tuple[Key, Message]:
        """Return the command that prepares the second host."""
        return self._ask(PrepareNetworkPort, subject, reply, where)


class UnpreparePort(_PortJob):
    """Have the NIC's network forget the other host."""

    def message(self, subject: Any, task: Task, reply: Reply, where: Where) -> tuple[Key, Message]:
        """Return the command that forgets the second host."""
        return self._ask(UnprepareNetworkPort, subject, reply, where)


class MovePort(_PortJob):
    """Bind the NIC's port to the other host."""

    def message(self, subject: Any, task: Task, reply: Reply, where: Where) -> tuple[Key, Message]:
        """Return the command that binds the port to the second host."""
        return self._ask(MoveNetworkPort, subject, reply, Where.THERE)


class ReturnPort(_PortJob):
    """Bind the NIC's port to the instance's own host again."""

    def message(self, subject: Any, task: Task, reply: Reply, where: Where) -> tuple[Key, Message]:
        """Return the command that binds the port to the instance's own host."""
        return self._ask(MoveNetworkPort, subject, reply, Where.HERE)


class FetchDisk(HostJob):
    """Copy the instance's root disk from another host's agent, and verify it; a disk that is there is replaced."""

    deadline = 600.0
    abortable = True

    endpoint: str
    """Base URL of the other host's agent."""
    host_id: str
    """Id of the other host."""


class NicPrepared(Fact):
    """The NIC's network is prepared for the second host."""

    fact: Literal["nic-prepared"] = "nic-prepared"
    nic: int
    port: Nic

    def apply(self, subject: Any, where: Where) -> Any:
        """Return the instance with the NIC as it is on the second host."""
        return subject.with_nic_there(self.nic, self.port)
