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
