"""Networks and their ports, as rows and documents."""

from collections.abc import Iterable
from typing import Any

from domain.core.ipv6 import address_of
from domain.core.messages import Event
from domain.network.messages import (
    NetworkUpdated,
    PortBoundToInstance,
    PortCreated,
    PortDeleted,
    PortFreed,
    PortUpdated,
)
from domain.network.state import Network, Port, mac_of
from domain.security_group import default_id
from projections.views.view import Change, Row, View, ViewColumn, aggregate


def network_rows(change: Change) -> Iterable[Row]:
    """Yield the row of the network."""
    network = change.after
    if not isinstance(network, Network):
        return
    yield Row(
        id=network.id,
        version=change.version,
        created=network.created,
        columns={"name": network.name, "project": network.project, "deleted": network.deleted is not None},
        doc={
            "id": network.id,
            "name": network.name,
            "description": network.description,
            "project_id": network.project,
            "cidr": network.cidr,
            "cidr6": network.cidr6,
            "ipv6_mode": network.ipv6_mode if network.cidr6 else "",
            "segment": network.segment,
            "external": network.external,
            "ports": len(network.ports),
            "created": network.created,
            "updated": network.updated,
            "deleted": network.deleted,
            "version": change.version,
        },
    )


def port_document(network: Network, port: Port, version: int) -> dict[str, Any]:
    """Return a port as the fields of its JSON document."""
    mac = mac_of(network, port)
    return {
        "id": port.id,
        "name": port.name,
        "project_id": port.project,
        "network_id": network.id,
        "network_name": network.name,
        "ip": port.ip,
        "prefix": network.block.prefixlen,
        "ip6": address_of(network.cidr6, mac),
        "mac": mac,
        "security_group_ids": port.security_groups or (default_id(port.project),),
        "port_security": port.port_security,
        "allowed_pairs": [{"cidr": pair.cidr, "mac": pair.mac} for pair in port.allowed_pairs],
        "egress_kbit": port.egress_kbit,
        "ingress_kbit": port.ingress_kbit,
        "instance_id": port.instance_id,
        "host_id": port.host_id,
        "keep": port.keep,
        "created": port.created,
        "version": version,
    }


def about_port(change: Change) -> str | None:
    """Return the id of the port that the event is about, or of the network where it is about all of its ports; None
    where it changes none of them."""
    event: Any = change.envelope.data
    if isinstance(event, NetworkUpdated):
        return None if event.cidr6 is None else change.key.id
    ident: str = event.port_id
    return ident


def port_rows(change: Change) -> Iterable[Row]:
    """Yield the rows of the ports that the event is about: of one, or of all where the network gets an IPv6 range."""
    event: Event | Any = change.envelope.data
    network: Network = change.after
    if isinstance(event, (PortCreated, PortUpdated, PortBoundToInstance, PortFreed)):
        found = [network.ports.get(event.port_id)]
    elif isinstance(event, NetworkUpdated) and event.cidr6 is not None:
        found = list(network.ports.values())
    else:
        return
    yield from (_port_row(network, port, change) for port in found if port is not None)


def _port_row(network: Network, port: Port, change: Change) -> Row:
    return Row(
        id=port.id,
        version=change.version,
        created=port.created,
        columns={
            "name": port.name,
            "project": port.project,
            "network_id": network.id,
            "instance_id": port.instance_id,
            "ip": port.ip,
            "security_groups": list(port.security_groups or (default_id(port.project),)),
        },
        doc=port_document(network, port, change.version),
    )


def port_gone(change: Change) -> Iterable[str]:
    """Yield the id of the port that the event removes."""
    event = change.envelope.data
    if isinstance(event, PortDeleted):
        yield event.port_id


NETWORKS = View(
    name="networks",
    kinds=frozenset({"network"}),
    rows=network_rows,
    about=aggregate,
    columns=(ViewColumn("name", indexed=True, patterns=True), ViewColumn("project"), ViewColumn("deleted", "boolean")),
)

PORTS = View(
    name="ports",
    kinds=frozenset({"network"}),
    events=frozenset({NetworkUpdated, PortCreated, PortUpdated, PortBoundToInstance, PortFreed, PortDeleted}),
    rows=port_rows,
    gone=port_gone,
    about=about_port,
    columns=(
        ViewColumn("name", indexed=True, patterns=True),
        ViewColumn("project"),
        ViewColumn("network_id", indexed=True),
        ViewColumn("instance_id", indexed=True),
        ViewColumn("ip", indexed=True),
        ViewColumn("security_groups", "text[]", indexed=True, otherwise="{}"),
    ),
)
