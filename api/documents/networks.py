"""Documents about networks and ports."""

from api.documents.document import Document


class NetworkDocument(Document):
    """A network: a range of IPv4 addresses, and perhaps one of IPv6, on a segment of its own."""

    id: str
    name: str
    description: str
    project_id: str
    cidr: str
    cidr6: str
    ipv6_mode: str
    segment: int
    external: bool
    ports: int
    created: str
    updated: str
    deleted: str | None
    version: int


class AddressPairDocument(Document):
    """Addresses that a port may send from besides its own; an empty MAC address is the port's own."""

    cidr: str
    mac: str


class PortDocument(Document):
    """A port: an address of a network that is reserved or in use."""

    id: str
    name: str
    project_id: str
    network_id: str
    network_name: str
    ip: str
    prefix: int
    ip6: str
    mac: str
    security_group_ids: list[str]
    port_security: bool
    allowed_pairs: list[AddressPairDocument]
    egress_kbit: int
    ingress_kbit: int
    instance_id: str
    host_id: str
    keep: bool
    created: str
    version: int
