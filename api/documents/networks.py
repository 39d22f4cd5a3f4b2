"""Documents about networks and ports."""

from api.documents.document import Document


class NetworkDocument(Document):
    """A network: a range of IPv4 addresses on a segment of its own."""

    id: str
    name: str
    description: str
    project_id: str
    cidr: str
    segment: int
    ports: int
    created: str
    updated: str
    deleted: str | None
    version: int


class PortDocument(Document):
    """A port: an address of a network that is reserved or in use."""

    id: str
    name: str
    project_id: str
    network_id: str
    network_name: str
    ip: str
    prefix: int
    mac: str
    instance_id: str
    host_id: str
    keep: bool
    created: str
    version: int
