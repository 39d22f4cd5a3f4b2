"""attach-interface: give an instance one more network interface; detach-interface: take one away.

Attach: AddPort · AttachInterface. Undone in reverse. The network gives the address before any host is asked, so no two
guests ever have the same.
Detach: DetachInterface · RemovePort. The address is free only when the guest has let go of the interface, and after
that there is no way back, since it may be another's. A paused guest cannot let go, so nothing is detached from one.
"""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field

from domain.core.errors import InterfaceNotAttached, InUse, Invalid, TooManyInterfaces
from domain.core.fields import PLAIN, Refers
from domain.core.mac import usual
from domain.core.messages import Model
from domain.instance.action import InstanceAction, InstanceCommand
from domain.instance.state import Instance, VmState
from domain.jobs.network import AddPort, AttachInterface, DetachInterface, RemovePort
from domain.security_group import MOST_GROUPS
from domain.tasks.flow import Flow, Step

MOST_INTERFACES = 16
"""Network interfaces that an instance can have."""


class PortRef(Model):
    """A port as it was at the time of the request."""

    id: str
    network_id: str
    mac: str = ""


class AttachInstanceInterface(InstanceCommand):
    """Give an instance one more network interface, at once where it runs."""

    network: Annotated[str, PLAIN, Refers("network"), Field(max_length=255)] = ""
    """The network to join (name or ID), with an address of its own; or give a port."""
    port: Annotated[PortRef | None, Refers("port")] = None
    """A port that no instance uses (name or ID), which keeps its address and outlives the instance."""
    ip: Annotated[str, Field(max_length=15)] = ""
    """The address to have on the network; any that is free unless given."""
    mac: Annotated[str, Field(max_length=17)] = ""
    """MAC address to have on the network; it follows from the address unless given."""
    security_group_ids: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=255)], ...],
        Refers("security-group"),
        Field(max_length=MOST_GROUPS),
    ] = ()
    """Security groups to be in on the network (names or IDs); the project's default unless given."""


class DetachInstanceInterface(InstanceCommand):
    """Take a network interface from an instance, at once where it runs; its address is free again."""

    port: Annotated[str, PLAIN, Refers("port"), Field(min_length=1, max_length=255)]
    """The port of the interface (name or ID)."""


def one_more(instance: Instance, command: AttachInstanceInterface) -> Iterator[dict[str, Any]]:
    """Yield the interface to be added, behind those that there are."""
    port = command.port
    yield {
        "nic": len(instance.nics),
        "network_id": port.network_id if port else command.network,
        "port_id": port.id if port else "",
        "ip": command.ip,
        "mac": command.mac,
        "security_groups": command.security_group_ids,
    }


def that_one(instance: Instance, command: DetachInstanceInterface) -> Iterator[dict[str, Any]]:
    """Yield the interface that has the port."""
    for index, nic in enumerate(instance.nics):
        if nic.port_id == command.port:
            yield {"nic": index, "network_id": nic.network_id, "port_id": nic.port_id}


def can_have_another(instance: Instance, command: AttachInstanceInterface) -> None:
    """Raise Invalid where not one of network and port is given, or what a port has already or nobody may have, InUse
    where the instance has the port already, and TooManyInterfaces where it has as many as it can."""
    if bool(command.network) == (command.port is not None):
        raise Invalid(field="network", value=repr(command.network), allowed="give a network or a port, not both")
    for field in ("ip", "mac", "security_group_ids"):
        if command.port is not None and (given := getattr(command, field)):
            raise Invalid(field=field, value=given, allowed="nothing: the port has its own already")
    if command.port is not None and any(nic.port_id == command.port.id for nic in instance.nics):
        raise InUse(kind="Port", id=command.port.id, user="this very instance")
    mac = usual(command.mac, "mac") if command.mac else command.port.mac if command.port else ""
    if mac and any(nic.mac == mac for nic in instance.nics):
        # Its host finds an interface of the guest by this.
        field = "port" if command.port else "mac"
        raise Invalid(field=field, value=mac, allowed="a MAC address that no other interface of the instance has")
    if len(instance.nics) >= MOST_INTERFACES:
        raise TooManyInterfaces(id=instance.id, most=MOST_INTERFACES)


def has_it(instance: Instance, command: DetachInstanceInterface) -> None:
    """Raise InterfaceNotAttached where no interface of the instance has the port."""
    if not any(that_one(instance, command)):
        raise InterfaceNotAttached(id=instance.id, port=command.port)


ATTACH_INTERFACE = InstanceAction(
    name="attach-interface",
    command=AttachInstanceInterface,
    begins=frozenset({VmState.ACTIVE, VmState.PAUSED, VmState.STOPPED}),
    ends=None,
    during="attaching",
    check=can_have_another,
    flow=Flow(
        "attach-interface",
        1,
        (
            Step(AddPort, undo=RemovePort, each=one_more),
            Step(AttachInterface, undo=DetachInterface, each=one_more),
        ),
    ),
)

DETACH_INTERFACE = InstanceAction(
    name="detach-interface",
    command=DetachInstanceInterface,
    begins=frozenset({VmState.ACTIVE, VmState.STOPPED}),
    ends=None,
    during="detaching",
    check=has_it,
    flow=Flow(
        "detach-interface",
        1,
        (
            Step(DetachInterface, undo=AttachInterface, each=that_one, pivot=True),
            Step(RemovePort, no_undo="the last step", each=that_one),
        ),
    ),
)
