"""The fold of a network: its state after an event."""

from domain.core.messages import Event
from domain.network.messages import (
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
from domain.network.state import Network, Port, address_index


def evolve(now: Network | None, event: Event, subject_id: str) -> Network:
    """Return the network after this event. Raises TypeError for an event of another kind."""
    if isinstance(event, NetworkCreated):
        return Network(
            id=subject_id,
            updated=event.created,
            project=event.project,
            name=event.name,
            cidr=event.cidr,
            description=event.description,
            segment=event.segment,
            created=event.created,
        )
    if now is None:
        raise TypeError(f"{event.type_name} cannot be the first event of network {subject_id}")
    match event:
        case NetworkDeleted():
            return now.but(deleted=event.at, updated=event.at)
        case PortCreated():
            port = Port(
                id=event.port_id,
                name=event.name,
                ip=event.ip,
                project=event.project,
                keep=event.keep,
                created=event.created,
            )
            return now.but(
                ports=now.ports.set(port.id, port),
                taken=now.taken.set(port.ip, port.id),
                hint=address_index(now, port.ip) + 1,
            )
        case PortBoundToInstance():
            port = now.ports[event.port_id]
            # A guest that moves leaves the host where it was as the second one.
            also_on = port.host_id if port.also_on == event.host_id else port.also_on
            bound = port.but(instance_id=event.instance_id, host_id=event.host_id, also_on=also_on)
            return now.but(ports=now.ports.set(bound.id, bound))
        case PortPrepared():
            prepared = now.ports[event.port_id].but(also_on=event.host_id)
            return now.but(ports=now.ports.set(prepared.id, prepared))
        case PortUnprepared():
            alone = now.ports[event.port_id].but(also_on="")
            return now.but(ports=now.ports.set(alone.id, alone))
        case PortFreed():
            free = now.ports[event.port_id].but(instance_id="", host_id="", also_on="")
            return now.but(ports=now.ports.set(free.id, free))
        case PortDeleted():
            gone = now.ports[event.port_id]
            return now.but(ports=now.ports.delete(gone.id), taken=now.taken.delete(gone.ip))
        case HostAddressGiven():
            return now.but(
                hosts={**now.hosts, event.host_id: event.ip},
                taken=now.taken.set(event.ip, event.host_id),
                hint=address_index(now, event.ip) + 1,
            )
        case HostAddressReturned():
            return now.but(
                hosts={host: ip for host, ip in now.hosts.items() if host != event.host_id},
                taken=now.taken.delete(event.ip),
            )
        case _:
            raise TypeError(f"{event.type_name} is no event of a network")
