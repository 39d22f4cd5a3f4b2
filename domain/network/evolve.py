"""The fold of a network: its state after an event."""

from typing import Any

from domain.core.messages import Event
from domain.network.messages import (
    GatewayGiven,
    HostAddressGiven,
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
)
from domain.network.state import GATEWAY, Network, Port, address_index


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
            external=event.external,
            cidr6=event.cidr6,
            ipv6_mode=event.ipv6_mode,
            created=event.created,
        )
    if now is None:
        raise TypeError(f"{event.type_name} cannot be the first event of network {subject_id}")
    match event:
        case NetworkUpdated(at=at):
            changes = {name: value for name, value in event if name != "at" and value is not None}
            return now.but(updated=at, **changes)
        case NetworkDeleted():
            return now.but(deleted=event.at, updated=event.at)
        case PortCreated():
            port = Port(id=event.port_id, own_mac=event.mac, **{name: getattr(event, name) for name in _CREATED})
            return now.but(
                ports=now.ports.set(port.id, port),
                taken=now.taken.set(port.ip, port.id),
                hint=address_index(now, port.ip) + 1,
            )
        case PortUpdated():
            changes = {name: value for name, value in event if name != "port_id" and value is not None}
            return _port(now, event.port_id, **changes)
        case PortBoundToInstance():
            port = now.ports[event.port_id]
            # A guest that moves leaves the host where it was as the second one.
            also_on = port.host_id if event.host_id and port.also_on == event.host_id else port.also_on
            return _port(now, event.port_id, instance_id=event.instance_id, host_id=event.host_id, also_on=also_on)
        case PortPrepared():
            return _port(now, event.port_id, also_on=event.host_id)
        case PortUnprepared():
            return _port(now, event.port_id, also_on="")
        case PortFreed():
            return _port(now, event.port_id, instance_id="", host_id="", also_on="")
        case PortDeleted():
            gone = now.ports[event.port_id]
            return now.but(ports=now.ports.delete(gone.id), taken=now.taken.delete(gone.ip))
        case GatewayGiven():
            return now.but(gateway=event.ip, taken=now.taken.set(event.ip, GATEWAY))
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


_CREATED = [name for name in PortCreated.model_fields if name in Port.model_fields]


def _port(now: Network, port_id: str, **changes: Any) -> Network:
    """Return the network with a port that has changed."""
    changed = now.ports[port_id].but(**changes)
    return now.but(ports=now.ports.set(port_id, changed))
