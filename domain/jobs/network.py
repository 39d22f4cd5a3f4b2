"""Jobs that give an instance its addresses, and put it on its networks on a host."""

from typing import Any, Literal

from domain.core.messages import Command, Key, Message
from domain.guest_spec import Nic
from domain.tasks.job import AggregateJob, Fact, HostJob, Where
from domain.tasks.messages import Reply
from domain.tasks.task import Task


class BindNetworkPort(Command):
    """Give an instance's NIC an address of a network."""

    kind = "network"
    revision = 2

    reply: Reply
    nic: int
    port_id: str
    keep_port: bool = False
    instance_id: str
    host_id: str
    project: str = ""
    ip: str = ""


class UnbindNetworkPort(Command):
    """Take an instance's NIC off a network."""

    kind = "network"
    revision = 2

    reply: Reply
    nic: int
    port_id: str
    keep_port: bool = False
    instance_id: str


class BindPort(AggregateJob):
    """Give the instance's NIC an address on its network, or bind the port that holds one."""

    deadline = 30.0
    attempts = 3

    nic: int

    def message(self, subject: Any, task: Task, reply: Reply, where: Where) -> tuple[Key, Message]:
        """Return the command that requests a port for the NIC; a port that is yet to be made gets the job's id."""
        nic = subject.nics[self.nic]
        host, _ = subject.held(where)
        command = BindNetworkPort(
            reply=reply,
            nic=self.nic,
            port_id=nic.port_id or reply.job_id,
            keep_port=nic.keep_port,
            instance_id=subject.id,
            host_id=host.id if host else "",
            project=subject.project,
            ip=nic.ip,
        )
        return Key("network", nic.network_id), command


class UnbindPort(AggregateJob):
    """Give the NIC's address back, or free the port that outlives the instance."""

    deadline = 30.0
    attempts = 5

    nic: int

    def message(self, subject: Any, task: Task, reply: Reply, where: Where) -> tuple[Key, Message]:
        """Return the command that frees the NIC's port."""
        nic = subject.nics[self.nic]
        command = UnbindNetworkPort(
            reply=reply, nic=self.nic, instance_id=subject.id, port_id=nic.port_id, keep_port=nic.keep_port
        )
        return Key("network", nic.network_id), command


class PlugPorts(HostJob):
    """Make the instance's networks on this host, and the entries its addresses need."""


class UnplugPorts(HostJob):
    """Take the instance's entries off this host's networks, and a network nobody uses."""

    attempts = 5


class PortBound(Fact):
    """The network gave this NIC an address."""

    fact: Literal["port-bound"] = "port-bound"
    nic: int
    port: Nic

    def apply(self, subject: Any, where: Where) -> Any:
        """Return the instance with the NIC's address."""
        return subject.with_nic(self.nic, self.port)


class PortUnbound(Fact):
    """The NIC has no address any more."""

    fact: Literal["port-unbound"] = "port-unbound"
    nic: int

    def apply(self, subject: Any, where: Where) -> Any:
        """Return the instance with a NIC that has only its network, and a port that outlives the instance."""
        old = subject.nics[self.nic]
        blank = Nic(
            network_id=old.network_id,
            network_name=old.network_name,
            keep_port=old.keep_port,
            port_id=old.port_id if old.keep_port else "",
        )
        return subject.with_nic(self.nic, blank)
