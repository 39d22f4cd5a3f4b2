"""Jobs that give an instance its addresses, and put it on its networks on a host."""

from typing import Any, Literal

from domain.core.messages import Command, Key, Message
from domain.guest_spec import Nic
from domain.tasks.job import AggregateJob, Fact, HostJob, Where
from domain.tasks.messages import Reply
from domain.tasks.task import Direction, Task, job_id


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
    mac: str = ""
    """MAC address of a port that is yet to be made; empty: the one that follows from its IP address."""
    security_groups: tuple[str, ...] = ()
    """Groups of a port that is yet to be made; none: the default group of the project."""


class UnbindNetworkPort(Command):
    """Take an instance's NIC off a network."""

    kind = "network"
    revision = 2

    reply: Reply
    nic: int
    port_id: str
    keep_port: bool = False
    instance_id: str

    def outcome(self) -> Fact:
        """Return that the interface has no address."""
        return PortUnbound(nic=self.nic)


class RemoveNetworkPort(UnbindNetworkPort):
    """Take an interface off a network, of an instance that has it no more."""

    revision = 1

    def outcome(self) -> Fact:
        """Return that the instance has no such interface."""
        return InterfaceRemoved(port_id=self.port_id)


def _bind(
    subject: Any, index: int, nic: Nic, reply: Reply, where: Where | None, groups: tuple[str, ...]
) -> tuple[Key, Message]:
    """Return the command that requests a port for an interface; a port that is yet to be made gets the job's id. No
    place: the instance has no host."""
    host = subject.host_at(where) if where else None
    command = BindNetworkPort(
        reply=reply,
        nic=index,
        port_id=nic.port_id or reply.job_id,
        keep_port=nic.keep_port,
        instance_id=subject.id,
        host_id=host.id if host else "",
        project=subject.project,
        ip=nic.ip,
        mac="" if nic.port_id else nic.mac,
        security_groups=groups,
    )
    return Key("network", nic.network_id), command


class BindPort(AggregateJob):
    """Give the instance's NIC an address on its network, or bind the port that holds one."""

    deadline = 30.0
    attempts = 3

    nic: int
    security_groups: tuple[str, ...] = ()

    def message(self, subject: Any, task: Task, reply: Reply, where: Where) -> tuple[Key, Message]:
        """Return the command that requests a port for the NIC; a port that is yet to be made gets the job's id."""
        return _bind(subject, self.nic, subject.nics[self.nic], reply, where, self.security_groups)


class ParkPort(AggregateJob):
    """Have the NIC's port keep its address for the instance, which has no host."""

    deadline = 30.0
    attempts = 5

    nic: int

    def message(self, subject: Any, task: Task, reply: Reply, where: Where) -> tuple[Key, Message]:
        """Return the command that binds the port to the instance, and to no host."""
        return _bind(subject, self.nic, subject.nics[self.nic], reply, None, ())


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


class AddPort(AggregateJob):
    """Give an instance one more interface: an address on a network, or a port that holds one."""

    deadline = 30.0
    attempts = 3

    nic: int
    """Index that the interface will have."""
    network_id: str
    port_id: str = ""
    """A port that is there; empty: one is made, which gets the job's id."""
    ip: str = ""
    """The address that the port to be made is to have; empty: any that is free."""
    mac: str = ""
    """MAC address that it is to have; empty: the one that follows from its IP address."""
    security_groups: tuple[str, ...] = ()
    """Ids of the groups that it is to be in; none: the default group of the project."""

    def message(self, subject: Any, task: Task, reply: Reply, where: Where) -> tuple[Key, Message]:
        """Return the command that requests a port for the interface."""
        wanted = Nic(
            network_id=self.network_id,
            port_id=self.port_id,
            keep_port=bool(self.port_id),
            ip=self.ip,
            mac=self.mac,
        )
        return _bind(subject, self.nic, wanted, reply, where, self.security_groups)


class RemovePort(AggregateJob):
    """Take an interface from an instance: its address is free again, or the port that outlives the instance is."""

    deadline = 30.0
    attempts = 5

    nic: int
    network_id: str
    port_id: str = ""

    def message(self, subject: Any, task: Task, reply: Reply, where: Where) -> tuple[Key, Message]:
        """Return the command that frees the interface's port: of one that was to be added, also where nobody knows
        whether it was."""
        added = next((index for index, step in enumerate(task.plan.steps) if step.name == AddPort.__name__), 0)
        port_id = self.port_id or job_id(task, Direction.FORWARD, added)
        command = RemoveNetworkPort(reply=reply, nic=self.nic, port_id=port_id, instance_id=subject.id)
        return Key("network", self.network_id), command


class AttachInterface(HostJob):
    """Give the guest the interface, at once where it runs; one that it has is success."""

    nic: int


class DetachInterface(HostJob):
    """Take the interface from the guest, and wait until a guest that runs has let go of it; one that is gone is
    success."""

    deadline = 120.0

    nic: int


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


class InterfaceRemoved(Fact):
    """The instance does not have this interface any more."""

    fact: Literal["interface-removed"] = "interface-removed"
    port_id: str

    def apply(self, subject: Any, where: Where) -> Any:
        """Return the instance without the interface."""
        return subject.without_nic(self.port_id)
