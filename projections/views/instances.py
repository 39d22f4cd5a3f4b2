"""Instances as users see them, as rows and documents."""

from collections.abc import Iterable
from typing import Any

from domain.instance.state import Instance
from domain.instance.status import status
from projections.views import faults
from projections.views.view import Change, Row, View, ViewColumn, aggregate

OF_DISK_IMAGE = {"checksum", "format", "size", "virtual_size"}
"""Fields that are shown of the image of a shelved instance's root disk."""

OF_VOLUME = {"id", "name", "size", "read_only"}
"""Fields that are shown of a volume."""


def document(instance: Instance, version: int) -> dict[str, Any]:
    """Return an instance as the fields of its JSON document."""
    task = instance.task or instance.queued
    return {
        "id": instance.id,
        "name": instance.name,
        "status": status(instance),
        "vm_state": instance.vm_state,
        "power": instance.power,
        "task": {"id": task.id, "action": task.action, "step": task.current_step} if task else None,
        "project_id": instance.project,
        "user_id": instance.owner,
        "hostname": instance.hostname,
        "description": instance.description,
        "metadata": instance.metadata,
        "flavor": instance.flavor.model_dump(),
        "image": instance.image.model_dump(),
        "disk": instance.disk,
        "root_volume_id": instance.root.id if instance.root else "",
        "zone": instance.zone,
        "host": {"id": instance.host.id, "name": instance.host.name, "epoch": instance.host.epoch}
        if instance.host
        else None,
        "key_name": instance.key_name,
        "config_drive": instance.config_drive,
        "nics": [
            {
                "index": index,
                "network_id": nic.network_id,
                "network_name": nic.network_name,
                "port_id": nic.port_id,
                "ip": nic.ip,
                "prefix": nic.prefix,
                "ip6": nic.ip6,
                "mac": nic.mac,
                "gateway": nic.gateway,
                "gateway6": nic.gateway6,
            }
            for index, nic in enumerate(instance.nics)
        ],
        "volumes": [volume.model_dump(include=OF_VOLUME) for volume in instance.volumes],
        "addresses": [each for nic in instance.nics for each in (nic.ip, nic.ip6) if each],
        "disk_image": instance.disk_image.model_dump(include=OF_DISK_IMAGE) if instance.disk_image else None,
        "offload_at": instance.offload_due_at,
        "fault": faults.document(instance.fault, "instance", instance),
        "created": instance.created,
        "updated": instance.updated,
        "launched": instance.launched,
        "deleted": instance.deleted,
        "purge_at": instance.purge_at,
        "version": version,
        # Told by the API, where one is shown: it is no part of its state.
        "parked": None,
    }


def rows(change: Change) -> Iterable[Row]:
    """Yield the row of the instance."""
    now = change.after
    if not isinstance(now, Instance):
        return
    doc = document(now, change.version)
    yield Row(
        id=now.id,
        version=change.version,
        created=now.created,
        columns={
            "name": now.name,
            "project": now.project,
            "owner": now.owner,
            "status": doc["status"],
            "vm_state": now.vm_state,
            "flavor_id": now.flavor.id,
            "image_id": now.image.id,
            "host_id": now.host.id if now.host else "",
            "host_name": now.host.name if now.host else "",
            "key_name": now.key_name,
            "zone": now.zone,
            "disk_checksum": now.disk_image.checksum if now.disk_image else "",
            "ips": doc["addresses"],
            "updated": now.updated,
            "deleted": now.vm_state in ("deleted", "soft_deleted"),
        },
        doc=doc,
    )


INSTANCES = View(
    name="instances",
    kinds=frozenset({"instance"}),
    rows=rows,
    about=aggregate,
    columns=(
        ViewColumn("name", indexed=True, patterns=True),
        ViewColumn("project", indexed=True, fixed=True),
        ViewColumn("owner", fixed=True),
        ViewColumn("status", indexed=True),
        ViewColumn("vm_state"),
        ViewColumn("flavor_id", indexed=True, fixed=True),
        ViewColumn("image_id", indexed=True, fixed=True),
        ViewColumn("host_id", indexed=True),
        ViewColumn("host_name", indexed=True),
        ViewColumn("key_name", fixed=True),
        ViewColumn("zone", fixed=True),
        ViewColumn("disk_checksum", otherwise=""),
        ViewColumn("ips", "text[]", indexed=True),
        ViewColumn("updated", "timestamptz"),
        ViewColumn("deleted", "boolean"),
    ),
)
