"""Documents about hosts and cells."""

from pydantic import Field

from api.documents.document import Document, ResourceUsage


class HostDocument(Document):
    """A host that runs instances, with its resources and its health."""

    id: str
    name: str
    zone: str
    cell: str
    status: str
    why_disabled: str
    health: str
    epoch: int
    partition: int
    endpoint: str
    uplink: str = ""
    """IPv4 address at which its guest networks are reached by other hosts; empty where it has none."""
    tunnel_key: str = ""
    """WireGuard's public key, by which other hosts encrypt what they send there; empty where nothing is encrypted."""
    arch: str
    hypervisor: str
    instances: int
    vcpus: ResourceUsage
    memory: ResourceUsage
    disk: ResourceUsage
    created: str
    updated: str
    version: int


class CellDocument(Document):
    """A cell, with the sums of what its hosts have and use."""

    name: str
    hosts: int
    instances: int
    vcpus: ResourceUsage
    memory: ResourceUsage
    disk: ResourceUsage
    partition: int = Field(description="partition of gostack.scheduling whose scheduler decides for the cell")
