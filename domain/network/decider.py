"""Decisions of a network: which port has which address."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Any

from domain.core.errors import (
    AddressTaken,
    AlreadyExists,
    InUse,
    Invalid,
    NoAddressLeft,
    NotFound,
    PortBusy,
    deleted_at,
    some_of,
)
from domain.core.ipv6 import any_range, network_range
from domain.core.mac import usual
from domain.core.messages import Decision, Envelope, Event
from domain.core.names import must_be_name
from domain.guest_spec import Nic
from domain.jobs.migration import (
    MoveNetworkPort,
    NetworkPortCommand,
    NicPrepared,
    PrepareNetworkPort,
    UnprepareNetworkPort,
)
from domain.jobs.network import BindNetworkPort, PortBound, UnbindNetworkPort
from domain.network.evolve import evolve
from domain.network.messages import (
    CreateNetwork,
    CreatePort,
    DeleteNetwork,
    DeletePort,
    GatewayGiven,
    HostAddressReturned,
    NetworkCreated,
    NetworkDeleted,
    NetworkUpdated,
    PortBoundToInstance,
    PortCreated,
    PortDeleted,
    PortFreed,
    PortPrepared,
    PortUnprepared,
    PortUpdated,
    UpdateNetwork,
    UpdatePort,
)
from domain.network.state import LARGEST, SMALLEST, AddressPair, Network, Port, PortOptions, derived_from, mac_of

SPECIAL = {
    "this network": IPv4Network("0.0.0.0/8"),
    "loopback": IPv4Network("127.0.0.0/8"),
    "the link, and of the metadata service": IPv4Network("169.254.0.0/16"),
    "multicast": IPv4Network("224.0.0.0/4"),
    "no use yet, and of broadcast": IPv4Network("240.0.0.0/4"),
}
"""Ranges that no host may have an address in (RFC 6890), by what their addresses are for."""


NEED_GATEWAY = (CreatePort, BindNetworkPort, PrepareNetworkPort, MoveNetworkPort)
"""Commands that take an address, or put a guest onto a host: before them the network must have a gateway."""


def decide(now: Network | None, envelope: Envelope) -> Decision:
    """Return the events and answers that follow from this record. Raises a Refusal where the network does not allow
    it."""
    network_id = envelope.subject.id
    if isinstance(envelope.data, CreateNetwork):
        if now is not None:
            raise AlreadyExists(kind="network", id=network_id)
        created = _created(envelope.data, envelope)
        return Decision([created, GatewayGiven(ip=str(evolve(None, created, network_id).block[1]))])
    if now is None or now.deleted is not None:
        if isinstance(envelope.data, UnprepareNetworkPort):
            return Decision([], [envelope.data.reply.done("UnpreparePort")])
        if isinstance(envelope.data, UnbindNetworkPort):
            return Decision([], [envelope.data.reply.done("UnbindPort", envelope.data.outcome())])
        raise NotFound(kind="network", id=network_id, hint=deleted_at(now.deleted if now else None))
    before = _gateway_events(now) if isinstance(envelope.data, NEED_GATEWAY) else []
    for event in before:
        now = evolve(now, event, network_id)
    decision = _decide(now, envelope)
    return Decision([*before, *decision.events], decision.outgoing) if before and decision.events else decision


def _gateway_events(network: Network) -> list[Event]:
    """Return what gives a gateway to a network that an earlier release made: an address that a host had there, since
    its guests know that as theirs, or a free one. Raises NoAddressLeft."""
    if network.gateway:
        return []
    returned: list[Event] = [HostAddressReturned(host_id=host, ip=ip) for host, ip in sorted(network.hosts.items())]
    ip = min(network.hosts.values(), key=IPv4Address, default="") or _free(network)
    return [*returned, GatewayGiven(ip=ip)]


def _decide(now: Network, envelope: Envelope) -> Decision:
    match envelope.data:
        case UpdateNetwork() as command:
            return _updated(now, command, envelope)
        case DeleteNetwork():
            if now.ports:
                raise _in_use(now)
            return Decision([NetworkDeleted(at=envelope.time)])
        case CreatePort() as command:
            if command.port_id in now.ports:
                raise AlreadyExists(kind="port", id=command.port_id)
            if command.name:
                must_be_name(command.name)
            return Decision([_wanted(now, command, envelope)])
        case UpdatePort() as command:
            return _port_updated(now, command)
        case DeletePort(port_id=port_id):
            port = now.ports.get(port_id)
            if port is None:
                raise NotFound(kind="port", id=port_id)
            if port.instance_id:
                hint = f"gs instance show {port.instance_id} shows it, also while it is soft-deleted."
                raise InUse(kind="Port", id=port_id, user=f"instance {port.instance_id}", hint=hint)
            return Decision([PortDeleted(port_id=port_id)])
        case BindNetworkPort() as bind:
            return _bind(now, bind, envelope)
        case UnbindNetworkPort() as unbind:
            return _unbind(now, unbind)
        case NetworkPortCommand() as command:
            return _moving(now, command)
        case other:
            raise TypeError(f"{other.type_name} is nothing a network decides")


def _wanted(now: Network, command: CreatePort, envelope: Envelope) -> PortCreated:
    """Return the creation of a port as a user asks for it. Raises Invalid, AddressTaken, NoAddressLeft."""
    options = {name: getattr(command, name) for name in PortOptions.model_fields}
    options["allowed_pairs"] = tuple(_pair(now, each) for each in command.allowed_pairs)
    return PortCreated(
        port_id=command.port_id,
        name=command.name,
        ip=(ip := _address(now, command.ip)),
        project=envelope.project,
        keep=True,
        mac=_own_mac(now, command.mac, ip),
        created=envelope.time,
        **options,
    )


def _port_updated(now: Network, command: UpdatePort) -> Decision:
    port = now.ports.get(command.port_id)
    if port is None:
        raise NotFound(kind="port", id=command.port_id)
    changes = {name: value for name, value in command if name != "port_id" and value is not None}
    if "allowed_pairs" in changes:
        changes["allowed_pairs"] = tuple(_pair(now, each) for each in changes["allowed_pairs"])
    changes = {name: value for name, value in changes.items() if value != getattr(port, name)}
    if changes.get("name"):
        must_be_name(changes["name"])
    return Decision([PortUpdated(port_id=port.id, **changes)] if changes else [])


def _pair(network: Network, pair: AddressPair) -> AddressPair:
    """Return the pair in its usual form. Raises Invalid."""
    try:
        block = any_range(pair.cidr)
    except ValueError as wrong:
        allowed = f"an IPv4 or IPv6 address or range is needed ({wrong})"
        raise Invalid(field="allowed_pairs", value=pair.cidr, allowed=allowed) from wrong
    if isinstance(block, IPv6Network) and not network.cidr6:
        allowed = "an IPv4 address or range is needed, since the network has no IPv6 range"
        raise Invalid(field="allowed_pairs", value=pair.cidr, allowed=allowed)
    return AddressPair(cidr=str(block), mac=usual(pair.mac, "allowed_pairs") if pair.mac else "")


def _own_mac(now: Network, mac: str, ip: str) -> str:
    """Return the MAC address that a user chose for the port of an address, in its usual form.

    Raises Invalid, AddressTaken.
    """
    if not mac:
        return ""
    wanted = usual(mac, "mac")
    for port in now.ports.values():
        if mac_of(now, port) == wanted:
            raise AddressTaken(id=now.id, ip=wanted, port=port.id)
    if (of := derived_from(now, wanted)) not in ("", ip):
        # The next port with that address would have the same.
        allowed = f"it is the MAC address of {of} in this network: another one, or that address with it"
        raise Invalid(field="mac", value=mac, allowed=allowed)
    return wanted


def _in_use(network: Network) -> InUse:
    """Return the refusal that names the ports of a network, the oldest first, and whose they are."""
    ports = sorted(network.ports.values(), key=lambda port: (port.created, port.id))
    holders = [
        f"{port.name or port.id} ({f'instance {port.instance_id}' if port.instance_id else 'free'})" for port in ports
    ]
    return InUse(
        kind="Network",
        id=network.id,
        user=f"{len(ports)} {'port' if len(ports) == 1 else 'ports'}: {some_of(holders)}",
        hint=f"All of them: gs port list --network {network.id}. A soft-deleted instance keeps its ports until it is "
        "purged (gs instance list --deleted).",
    )


def _updated(now: Network, command: UpdateNetwork, envelope: Envelope) -> Decision:
    given: dict[str, Any] = {name: value for name, value in command if value is not None}
    if given.get("cidr6"):
        given["cidr6"] = _range6(given["cidr6"])
    changes = {name: value for name, value in given.items() if value != getattr(now, name)}
    if "name" in changes:
        must_be_name(changes["name"])
    if now.cidr6 and now.ports and ("cidr6" in changes or "ipv6_mode" in changes):
        # Guests have addresses in it, learned as it says.
        raise _in_use(now)
    return Decision([NetworkUpdated(at=envelope.time, **changes)] if changes else [])


def _range6(text: str) -> str:
    """Return an IPv6 range in its usual form. Raises Invalid."""
    try:
        return str(network_range(text))
    except ValueError as wrong:
        raise Invalid(field="cidr6", value=text, allowed=str(wrong)) from wrong


def _created(command: CreateNetwork, envelope: Envelope) -> NetworkCreated:
    try:
        block = IPv4Network(command.cidr)
    except ValueError as wrong:
        raise Invalid(field="cidr", value=command.cidr, allowed=f"an IPv4 network is needed ({wrong})") from wrong
    if not LARGEST <= block.prefixlen <= SMALLEST:
        raise Invalid(field="cidr", value=command.cidr, allowed=f"its prefix must be /{LARGEST} to /{SMALLEST}")
    for what, special in SPECIAL.items():
        if block.overlaps(special):
            allowed = f"it must be outside of {special}, the addresses of {what}"
            raise Invalid(field="cidr", value=command.cidr, allowed=allowed)
    must_be_name(command.name)
    return NetworkCreated(
        project=envelope.project,
        name=command.name,
        cidr=command.cidr,
        description=command.description,
        segment=command.segment,
        external=command.external,
        cidr6=_range6(command.cidr6) if command.cidr6 else "",
        ipv6_mode=command.ipv6_mode,
        created=envelope.time,
    )


def _bind(now: Network, bind: BindNetworkPort, envelope: Envelope) -> Decision:
    events: list[Event] = []
    after = now

    def emit(event: Event) -> None:
        nonlocal after
        events.append(event)
        after = evolve(after, event, now.id)

    port = now.ports.get(bind.port_id)
    if port is None:
        if bind.keep_port:
            raise NotFound(kind="port", id=bind.port_id)
        made = PortCreated(
            port_id=bind.port_id,
            ip=(ip := _address(now, bind.ip)),
            project=bind.project or envelope.project,
            keep=False,
            mac=_own_mac(now, bind.mac, ip),
            security_groups=bind.security_groups,
            created=envelope.time,
        )
        emit(made)
    elif port.instance_id not in ("", bind.instance_id):
        raise PortBusy(id=port.id, device=port.instance_id)
    port = after.ports[bind.port_id]
    if (port.instance_id, port.host_id) != (bind.instance_id, bind.host_id):
        emit(PortBoundToInstance(port_id=port.id, instance_id=bind.instance_id, host_id=bind.host_id))
    fact = PortBound(nic=bind.nic, port=_nic(after, port))
    return Decision(events, [bind.reply.done("BindPort", fact)])


def _nic(network: Network, port: Port) -> Nic:
    """Return a port as the NIC of a guest."""
    return Nic(
        network_id=network.id,
        network_name=network.name,
        port_id=port.id,
        keep_port=port.keep,
        ip=port.ip,
        prefix=network.block.prefixlen,
        mac=mac_of(network, port),
        gateway=network.gateway,
        segment=network.segment,
        cidr6=network.cidr6,
        ipv6_mode=network.ipv6_mode,
    )


def _moving(now: Network, command: NetworkPortCommand) -> Decision:
    """Return the events and answers for a port whose instance moves between hosts. Raises NotFound, PortBusy."""
    port = now.ports.get(command.port_id)
    if isinstance(command, UnprepareNetworkPort):
        gone = [PortUnprepared(port_id=port.id)] if port is not None and port.also_on else []
        return Decision([*gone], [command.reply.done("UnpreparePort")])
    if port is None:
        raise NotFound(kind="port", id=command.port_id)
    if port.instance_id != command.instance_id:
        raise PortBusy(id=port.id, device=port.instance_id)
    events: list[Event] = []
    if isinstance(command, MoveNetworkPort):
        if port.host_id != command.host_id:
            events.append(
                PortBoundToInstance(port_id=port.id, instance_id=command.instance_id, host_id=command.host_id)
            )
        return Decision(events, [command.reply.done("MovePort")])
    if port.also_on != command.host_id:
        events.append(PortPrepared(port_id=port.id, host_id=command.host_id))
    fact = NicPrepared(nic=command.nic, port=_nic(now, port))
    return Decision(events, [command.reply.done("PreparePort", fact)])


def _unbind(now: Network, unbind: UnbindNetworkPort) -> Decision:
    answer = unbind.reply.done("UnbindPort", unbind.outcome())
    port = now.ports.get(unbind.port_id)
    if port is None and not unbind.port_id:
        bound = (each for each in now.ports.values() if each.instance_id == unbind.instance_id)
        port = min(bound, key=lambda each: (each.created, each.id), default=None)
    if port is None or port.instance_id not in ("", unbind.instance_id):
        return Decision([], [answer])
    if not port.keep:
        return Decision([PortDeleted(port_id=port.id)], [answer])
    return Decision([PortFreed(port_id=port.id)] if port.instance_id else [], [answer])


def _address(network: Network, wanted: str) -> str:
    """Return this address, or any free one where none is requested. Raises Invalid, AddressTaken, NoAddressLeft."""
    return _given(network, wanted) if wanted else _free(network)


def _candidates(network: Network) -> Iterator[str]:
    base, size = int(network.block.network_address), network.block.num_addresses
    usable = size - 2
    for step in range(usable):
        index = 1 + (network.hint - 1 + step) % usable
        yield str(IPv4Address(base + index))


def _free(network: Network) -> str:
    for ip in _candidates(network):
        if ip not in network.taken:
            return ip
    raise NoAddressLeft(id=network.id, cidr=network.cidr)


def _given(network: Network, ip: str) -> str:
    try:
        address = IPv4Address(ip)
    except ValueError as wrong:
        raise Invalid(field="ip", value=ip, allowed="an IPv4 address is needed") from wrong
    edges = (network.block.network_address, network.block.broadcast_address)
    if address not in network.block or address in edges:
        raise Invalid(field="ip", value=ip, allowed=f"it must be a host address in {network.cidr}")
    if ip == network.gateway:
        raise Invalid(field="ip", value=ip, allowed=f"it must be another one than the gateway's of {network.cidr}")
    if owner := network.taken.get(ip):
        raise AddressTaken(id=network.id, ip=ip, port=owner)
    return ip
