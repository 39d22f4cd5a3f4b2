"""Hosts, their zones and cells."""

from pydantic import Field

from api.documents.document import Document, Resource


class HostDocument(Document):
    """A host."""

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
    vcpus: Resource
    memory: Resource
    disk: Resource
    created: str
    updated: str
    version: int


class CellDocument(Document):
    """A cell: what its hosts have together."""

    name: str
    hosts: int
    instances: int
    vcpus: Resource
    memory: Resource
    disk: Resource
    partition: int = Field(description="of gostack.scheduling: whoever has it decides for the cell")
