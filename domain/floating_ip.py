"""Floating addresses: addresses of the outside that a project holds, and that lead to one of its ports.

An address is the thing's name, unique everywhere: so nobody is given it twice. Which port it leads to stands here, with
the port's id and not its address alone, since the next port that has the address is somebody else's.
"""

from datetime import datetime
from ipaddress import AddressValueError, IPv4Address
from typing import Annotated, ClassVar

from domain.core.errors import Category, InUse, Invalid, Refusal
from domain.core.fields import OPERATORS_ONLY, PLAIN
from domain.core.messages import Command, Decision, Envelope, Event, Model
from domain.kind import Kind, ListFilter, Unique
from domain.named import Named


class FloatingIp(Model):
    """An address of the outside, and the port that it leads to."""

    id: str
    project: str
    name: Annotated[str, PLAIN]
    """The address itself, as 192.0.2.10."""
    port_id: str = ""
    """Id of the port that the address leads to; empty: none."""
    network_id: str = ""
    """Id of that port's network."""
    ip: str = ""
    """Address of that port in its network."""
    created: datetime
    updated: datetime
    deleted: datetime | None = None


class FloatingIpCommand(Command):
    """A command for a floating address."""

    abstract: ClassVar[bool] = True
    kind = "floating-ip"


class CreateFloatingIp(FloatingIpCommand):
    """Give a project an address of the outside."""

    name: Annotated[str, PLAIN]


class DeleteFloatingIp(FloatingIpCommand):
    """Give back a floating address, which must lead to no port."""

    relieves: ClassVar[bool] = True


class AssociateFloatingIp(FloatingIpCommand):
    """Have a floating address lead to a port; the guest that has the port is reached at it within seconds."""

    port_id: Annotated[str, OPERATORS_ONLY]
    network_id: Annotated[str, OPERATORS_ONLY]
    ip: Annotated[str, OPERATORS_ONLY]


class DisassociateFloatingIp(FloatingIpCommand):
    """Have a floating address lead to no port; connections by it end."""

    relieves: ClassVar[bool] = True


class FloatingIpEvent(Event):
    """A fact about a floating address."""

    abstract: ClassVar[bool] = True
    kind = "floating-ip"


class FloatingIpCreated(FloatingIpEvent):
    """The project has this address."""

    project: str
    name: Annotated[str, PLAIN]
    at: datetime


class FloatingIpAssociated(FloatingIpEvent):
    """The address leads to this port."""

    port_id: str
    network_id: str
    ip: str
    at: datetime


class FloatingIpDisassociated(FloatingIpEvent):
    """The address leads to no port any more."""

    at: datetime


class FloatingIpDeleted(FloatingIpEvent):
    """The address is free for others."""

    at: datetime


class NoFloatingAddresses(Refusal):
    """The operator has set no ranges of floating addresses (networks.floating)."""

    code = "no-floating-addresses"
    category = Category.CONFLICT
    hint = "Without them a guest is reached within its network alone."


class NoFloatingAddressLeft(Refusal):
    """No floating address is left in {ranges}."""

    code = "no-floating-address-left"
    category = Category.CONFLICT
    hint = "gs floating-ip list shows which are held; one that leads to nothing can be deleted."


class NoWayOut(Refusal):
    """Network {network} has no way out, so no floating address can lead to a port of it."""

    code = "no-way-out"
    category = Category.CONFLICT
    hint = "gs network update --external gives it one."


RULES = Named("floating-ip", FloatingIp, CreateFloatingIp, FloatingIpCreated, DeleteFloatingIp, FloatingIpDeleted)


def evolve(now: FloatingIp | None, event: Event, subject_id: str) -> FloatingIp:
    """Return the address after this event. Raises TypeError for an event of another kind."""
    match event:
        case FloatingIpAssociated(port_id=port_id, network_id=network_id, ip=ip, at=at) if now is not None:
            return now.but(port_id=port_id, network_id=network_id, ip=ip, updated=at)
        case FloatingIpDisassociated(at=at) if now is not None:
            return now.but(port_id="", network_id="", ip="", updated=at)
        case _:
            return RULES.evolve(now, event, subject_id)


def decide(now: FloatingIp | None, envelope: Envelope) -> Decision:
    """Return the events of a command. Raises AlreadyExists, NotFound, InUse, Invalid."""
    match envelope.data:
        case CreateFloatingIp(name=name):
            _must_be_address(name)
        case DeleteFloatingIp():
            _must_be_free(RULES.alive(now, envelope), "")
        case AssociateFloatingIp(port_id=port_id, network_id=network_id, ip=ip):
            held = RULES.alive(now, envelope)
            _must_be_free(held, port_id)
            wanted = FloatingIpAssociated(port_id=port_id, network_id=network_id, ip=ip, at=envelope.time)
            return Decision([] if held.port_id else [wanted])
        case DisassociateFloatingIp():
            held = RULES.alive(now, envelope)
            return Decision([FloatingIpDisassociated(at=envelope.time)] if held.port_id else [])
    return RULES.decide(now, envelope)


def _must_be_address(name: str) -> None:
    try:
        IPv4Address(name)
    except AddressValueError as wrong:
        raise Invalid(field="name", value=name, allowed="an IPv4 address such as 192.0.2.10 is needed") from wrong


def _must_be_free(held: FloatingIp, port_id: str) -> None:
    """Refuse where the address leads to another port than this one. Raises InUse."""
    if held.port_id not in ("", port_id):
        hint = f"gs floating-ip disassociate {held.name} has it lead to none."
        raise InUse(kind="Floating IP", id=held.name, user=f"port {held.port_id} ({held.ip})", hint=hint)


KIND = Kind(
    name="floating-ip",
    help="Addresses by which guests are reached from outside.",
    state=FloatingIp,
    evolve=evolve,
    unique=Unique.EVERYWHERE,
    delete=DeleteFloatingIp,
    filters=(
        ListFilter("network", "that leads into this network (name or id)", column="network_id", refers="network"),
        ListFilter("port_id", "that leads to the port of this id"),
    ),
    shown=("ip", "port_id"),
)
