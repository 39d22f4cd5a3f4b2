"""Decisions of a network: which port has which address."""

import ipaddress
from collections.abc import Iterator

from domain.core.errors import (
    AddressTaken,
    AlreadyExists,
    InUse,
    Invalid,
    NoAddressLeft,
    NotFound,
    PortBusy,
)
from domain.core.messages import Decision, Envelope, Event, Outgoing, Topic
from domain.guest_spec import Nic
from domain.jobs.migration import MoveNetworkPort, NetworkPortCommand, NicPrepared, UnprepareNetworkPort
from domain.jobs.network import BindNetworkPort, PortBound, PortUnbound, UnbindNetworkPort
from domain.network.evolve import evolve
from domain.network.messages import (
    CreateNetwork,
    CreatePort,
    DeleteNetwork,
    DeletePort,
    HostAddressGiven,
    HostAddressReturned,
    NetworkCreated,
    NetworkDeleted,
    PortBoundToInstance,
    PortCreated,
    PortDeleted,
    PortFreed,
    PortPrepared,
    PortUnprepared,
)
from domain.network.state import LARGEST, SMALLEST, Network, Port, mac_of
from domain.tasks.job import Fact
from domain.tasks.messages import JobResult, JobsAnswered, Reply


def decide(now: Network | None, envelope: Envelope) -> Decision:
    """Return the events and answers that follow from this record. Raises a Refusal where the network does not allow
    it."""
    network_id = envelope.subject.id
    if isinstance(envelope.data, CreateNetwork):
        if now is not None:
            raise AlreadyExists(kind="network", id=network_id)
        return Decision([_created(envelope.data, envelope)])
    if now is None or now.deleted is not None:
        if isinstance(envelope.data, UnprepareNetworkPort):
            return Decision([], [_answer(envelope.data.reply, "UnpreparePort")])
        if isinstance(envelope.data, UnbindNetworkPort):
            return Decision([], [_answer(envelope.data.reply, "UnbindPort", PortUnbound(nic=envelope.data.nic))])
        raise NotFound(kind="network", id=network_id)
    match envelope.data:
        case DeleteNetwork():
            if now.ports:
                raise InUse(kind="Network", id=now.id, user=f"{len(now.ports)} ports")
            return Decision([NetworkDeleted(at=envelope.time)])
        case CreatePort() as command:
            if command.port_id in now.ports:
                raise AlreadyExists(kind="port", id=command.port_id)
            ip, before = _address(now, command.ip)
            return Decision([*before, _port(command.port_id, ip, envelope, keep=True, name=command.name)])
        case DeletePort(port_id=port_id):
            port = now.ports.get(port_id)
            if port is None:
                raise NotFound(kind="port", id=port_id)
            if port.instance_id:
                raise InUse(kind="Port", id=port_id, user=f"instance {port.instance_id}")
            return Decision([PortDeleted(port_id=port_id)])
        case BindNetworkPort() as bind:
            return _bind(now, bind, envelope)
        case UnbindNetworkPort() as unbind:
            return _unbind(now, unbind)
        case NetworkPortCommand() as command:
            return _moving(now, command)
        case other:
            raise TypeError(f"{other.type_name} is nothing a network decides")


def _created(command: CreateNetwork, envelope: Envelope) -> NetworkCreated:
    try:
        block = ipaddress.IPv4Network(command.cidr)
    except ValueError as wrong:
        raise Invalid(field="cidr", value=command.cidr, allowed=f"an IPv4 network is needed ({wrong})") from wrong
    if not LARGEST <= block.prefixlen <= SMALLEST:
        raise Invalid(field="cidr", value=command.cidr, allowed=f"its prefix must be /{LARGEST} to /{SMALLEST}")
    return NetworkCreated(
        project=envelope.project,
        name=command.name,
        cidr=command.cidr,
        description=command.description,
        segment=command.segment,
        created=envelope.time,
    )


def _port(port_id: str, ip: str, envelope: Envelope, *, keep: bool, name: str = "", project: str = "") -> PortCreated:
    project = project or envelope.project
    return PortCreated(port_id=port_id, name=name, ip=ip, project=project, keep=keep, created=envelope.time)


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
        ip, before = _address(now, bind.ip, bind.host_id)
        for event in before:
            emit(event)
        emit(_port(bind.port_id, ip, envelope, keep=False, project=bind.project))
    elif port.instance_id not in ("", bind.instance_id):
        raise PortBusy(id=port.id, device=port.instance_id)
    if bind.host_id and bind.host_id not in after.hosts:
        ip, before = _address(after, "", bind.host_id)
        for event in before:
            emit(event)
        emit(HostAddressGiven(host_id=bind.host_id, ip=ip))
    port = after.ports[bind.port_id]
    if (port.instance_id, port.host_id) != (bind.instance_id, bind.host_id):
        emit(PortBoundToInstance(port_id=port.id, instance_id=bind.instance_id, host_id=bind.host_id))
    fact = PortBound(nic=bind.nic, port=_nic(after, port, bind.host_id))
    return Decision(events, [_answer(bind.reply, "BindPort", fact)])


def _nic(network: Network, port: Port, host_id: str) -> Nic:
    """Return a port as the NIC of a guest on this host."""
    return Nic(
        network_id=network.id,
        network_name=network.name,
        port_id=port.id,
        keep_port=port.keep,
        ip=port.ip,
        prefix=network.block.prefixlen,
        mac=mac_of(network, port.ip),
        gateway=network.hosts.get(host_id, ""),
        segment=network.segment,
    )


def _moving(now: Network, command: NetworkPortCommand) -> Decision:
    """Return the events and answers for a port whose instance moves between hosts. Raises NotFound, PortBusy,
    NoAddressLeft."""
    port = now.ports.get(command.port_id)
    if isinstance(command, UnprepareNetworkPort):
        gone = [PortUnprepared(port_id=port.id)] if port is not None and port.also_on else []
        return Decision([*gone], [_answer(command.reply, "UnpreparePort")])
    if port is None:
        raise NotFound(kind="port", id=command.port_id)
    if port.instance_id != command.instance_id:
        raise PortBusy(id=port.id, device=port.instance_id)
    events: list[Event] = []
    after = now
    if command.host_id not in now.hosts:
        ip, events = _address(now, "", command.host_id)
        events = [*events, HostAddressGiven(host_id=command.host_id, ip=ip)]
        for event in events:
            after = evolve(after, event, now.id)
    if isinstance(command, MoveNetworkPort):
        if port.host_id != command.host_id:
            events.append(
                PortBoundToInstance(port_id=port.id, instance_id=command.instance_id, host_id=command.host_id)
            )
        return Decision(events, [_answer(command.reply, "MovePort")])
    if port.also_on != command.host_id:
        events.append(PortPrepared(port_id=port.id, host_id=command.host_id))
    fact = NicPrepared(nic=command.nic, port=_nic(after, port, command.host_id))
    return Decision(events, [_answer(command.reply, "PreparePort", fact)])


def _unbind(now: Network, unbind: UnbindNetworkPort) -> Decision:
    answer = _answer(unbind.reply, "UnbindPort", PortUnbound(nic=unbind.nic))
    port = now.ports.get(unbind.port_id)
    if port is None:
        bound = (each for each in now.ports.values() if each.instance_id == unbind.instance_id)
        port = min(bound, key=lambda each: (each.created, each.id), default=None)
    if port is None or port.instance_id not in ("", unbind.instance_id):
        return Decision([], [answer])
    if not port.keep:
        return Decision([PortDeleted(port_id=port.id)], [answer])
    return Decision([PortFreed(port_id=port.id)] if port.instance_id else [], [answer])


def _answer(reply: Reply, name: str, *facts: Fact) -> Outgoing:
    result = JobResult(job_id=reply.job_id, name=name, facts=facts)
    message = JobsAnswered(task_id=reply.task_id, dispatch_id=reply.dispatch_id, results=(result,))
    return Outgoing(Topic.RESULTS, reply.key, message)


def _address(network: Network, wanted: str, host_id: str = "") -> tuple[str, list[Event]]:
    """Return this address, or any free one where none is requested, and the events that must free it first: a host
    without guests on the network gives its own address back, unless the guest comes to that host."""
    try:
        return (_given(network, wanted) if wanted else _free(network)), []
    except (AddressTaken, NoAddressLeft):
        used = {host_id, *(each for port in network.ports.values() for each in (port.host_id, port.also_on))}
        idle = sorted(host for host, ip in network.hosts.items() if host not in used and wanted in ("", ip))
        if not idle:
            raise
        ip = network.hosts[idle[0]]
        return ip, [HostAddressReturned(host_id=idle[0], ip=ip)]


def _candidates(network: Network) -> Iterator[str]:
    base, size = int(network.block.network_address), network.block.num_addresses
    usable = size - 2
    for step in range(usable):
        index = 1 + (network.hint - 1 + step) % usable
        yield str(ipaddress.IPv4Address(base + index))


def _free(network: Network) -> str:
    for ip in _candidates(network):
        if ip not in network.taken:
            return ip
    raise NoAddressLeft(id=network.id, cidr=network.cidr)


def _given(network: Network, ip: str) -> str:
    try:
        address = ipaddress.IPv4Address(ip)
    except ValueError as wrong:
        raise Invalid(field="ip", value=ip, allowed="an IPv4 address is needed") from wrong
    edges = (network.block.network_address, network.block.broadcast_address)
    if address not in network.block or address in edges:
        raise Invalid(field="ip", value=ip, allowed=f"it must be a host address in {network.cidr}")
    if owner := network.taken.get(ip):
        raise AddressTaken(id=network.id, ip=ip, port=owner)
    return ip
