"""Volumes: disks that outlive instances."""

from collections.abc import Mapping
from typing import Any

import orjson
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
from api.services import Services
from domain.core.cells import DEFAULT_CELL, in_turn
from domain.core.errors import InUse, Invalid, WrongStatus
from domain.disk_source import VolumeSource
from domain.guest_spec import ImageRef
from domain.volume.kind import KIND
from domain.volume.state import VolumeStatus

router = APIRouter(tags=["volumes"])


COPIES = "KIND/ID of each thing that is being copied from it"


class VolumeDocument(Document):
    """A volume: a disk that outlives the instances it is attached to."""

    id: str
    project_id: str
    name: str
    description: str
    status: str
    size: int
    cell: str
    host: HostOf | None
    host_id: str
    pool_id: str
    pool_name: str
    instance_id: str
    source: VolumeSource | None
    image: ImageRef | None
    snapshots: list[str] = Field(description="ids of its snapshots")
    copies: list[str] = Field(description=COPIES)
    task: RunningTask | None
    fault: FaultDocument | None
    created: str
    updated: str
    deleted: str | None
    version: int


EXAMPLE: dict[str, Any] = {
    "id": "0c5f1a52-3b1e-4c58-9d0f-5a0de2a3f7b1",
    "project_id": "admin",
    "name": "data",
    "description": "what the shop must not lose",
    "status": "available",
    "size": 10 << 30,
    "cell": "default",
    "host": {"id": examples.HOST_ID, "name": "h1", "epoch": 1},
    "host_id": examples.HOST_ID,
    "pool_id": "",
    "pool_name": "",
    "instance_id": "",
    "source": None,
    "image": None,
    "snapshots": [],
    "copies": [],
    "task": None,
    "fault": None,
    "created": examples.NOW,
    "updated": examples.NOW,
    "deleted": None,
    "version": 5,
}


def can_be_used(doc: Mapping[str, Any]) -> None:
    """Raise InUse for a volume that an instance has, WrongStatus for one that is not available."""
    if doc["instance_id"]:
        hint = "Detach it first (gs instance detach-volume), or delete the instance that boots from it."
        raise InUse(kind="Volume", id=doc["name"], user=f"instance {doc['instance_id']}", hint=hint)
    if doc["status"] != VolumeStatus.AVAILABLE:
        allowed = VolumeStatus.AVAILABLE
        raise WrongStatus(kind="Volume", id=doc["name"], status=doc["status"], action="using it", allowed=allowed)


RESOURCE = of_kind(KIND, VolumeDocument, EXAMPLE, usable=can_be_used)


async def place(services: Services, context: RequestContext, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the host of a volume, if it is known, and the cell whose scheduler decides about it.

    Raises NotFound, and Invalid if the instance has no host, or another one than the request names.
    """
    host = values["host"]
    if values["instance"]:
        instance = await resolve.alive(services, "instances", values["instance"], context.project)
        if instance["host"] is None:
            raise Invalid(field="instance", value=instance["name"], allowed="an instance that has a host")
        if host not in ("", instance["host"]["id"]):
            raise Invalid(field="host", value=host, allowed=f"the instance is on host {instance['host']['id']}")
        host = instance["host"]["id"]
    if host:
        found = await resolve.found(services, "hosts", host, context.project)
        return {"host": host, "cell": resolve.cell(orjson.loads(found.doc))}
    for view, copied in (("volumes", values["volume"]), ("volume-snapshots", values["snapshot"])):
        if copied is not None:
            # It is copied by a host that reaches it.
            return {"cell": resolve.cell(await resolve.alive(services, view, copied.id, context.project))}
    return {"cell": next(iter(in_turn(services.admission.cells, context.command_id)), DEFAULT_CELL)}


standard.add_all(router, RESOURCE, "create")
standard.add_create(router, RESOURCE, example={"name": "data", "size": 10 << 30}, complete=place)
