"""Snapshots of volumes: their data as it was at a moment."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from pydantic import Field

from api import standard
from api.documents.document import Document
from api.documents.faults import FaultDocument
from api.documents.instances import HostOf, RunningTask
from api.http.request_context import RequestContext
from api.openapi import examples
from api.reads import resolve
from api.resource import of_kind
from api.resources.volumes import COPIES
from api.services import Services
from domain.core.errors import WrongStatus
from domain.guest_spec import ImageRef
from domain.volume_snapshot.kind import KIND
from domain.volume_snapshot.state import SnapshotStatus

router = APIRouter(tags=["volumes"])


class VolumeSnapshotDocument(Document):
    """A volume's data as it was at a moment, in a file of its own."""

    id: str
    project_id: str
    name: str
    description: str
    status: str
    volume_id: str
    volume_name: str = Field(description="name that the volume had then")
    size: int
    cell: str
    host: HostOf | None
    host_id: str
    pool_id: str
    pool_name: str
    image: ImageRef | None
    copies: list[str] = Field(description=COPIES)
    task: RunningTask | None
    fault: FaultDocument | None
    created: str
    updated: str
    deleted: str | None
    version: int


EXAMPLE: dict[str, Any] = {
    "id": "5b0f2c54-8f0f-4a0c-9a3b-6f3c2b8e1d20",
    "project_id": "admin",
    "name": "before-the-sale",
    "description": "",
    "status": "available",
    "volume_id": "0c5f1a52-3b1e-4c58-9d0f-5a0de2a3f7b1",
    "volume_name": "data",
    "size": 10 << 30,
    "cell": "default",
    "host": {"id": examples.HOST_ID, "name": "h1", "epoch": 1},
    "host_id": examples.HOST_ID,
    "pool_id": "",
    "pool_name": "",
    "image": None,
    "copies": [],
    "task": None,
    "fault": None,
    "created": examples.NOW,
    "updated": examples.NOW,
    "deleted": None,
    "version": 8,
}


def can_be_copied(doc: Mapping[str, Any]) -> None:
    """Raise WrongStatus for a snapshot that is not available."""
    if doc["status"] != SnapshotStatus.AVAILABLE:
        status, allowed = doc["status"], SnapshotStatus.AVAILABLE
        raise WrongStatus(kind="Volume-snapshot", id=doc["name"], status=status, action="using it", allowed=allowed)


RESOURCE = of_kind(KIND, VolumeSnapshotDocument, EXAMPLE, usable=can_be_copied)


async def beside(services: Services, context: RequestContext, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the volume's cell, whose scheduler chooses the host that makes the snapshot."""
    return {"cell": resolve.cell(await resolve.alive(services, "volumes", values["volume"].id, context.project))}


standard.add_all(router, RESOURCE, "create")
standard.add_create(router, RESOURCE, example={"name": "before-the-sale", "volume": "data"}, complete=beside)
