"""Hosts: their resources, how much of these is used, and whether they are well."""

from collections.abc import Iterable

from domain.core.cells import DEFAULT_CELL
from domain.host.state import Host
from projections.views.view import Change, Row, View, ViewColumn, aggregate


def rows(change: Change) -> Iterable[Row]:
    """Yield the row of the host."""
    host = change.after
    if not isinstance(host, Host):
        return
    resources = {name: {"total": getattr(host.inventory, name), "used": used} for name, used in host.used().items()}
    yield Row(
        id=host.id,
        version=change.version,
        created=host.created,
        columns={
            "name": host.name,
            "zone": host.zone,
            "cell": host.cell,
            "enabled": host.enabled,
            "health": host.health,
        },
        doc={
            "id": host.id,
            "name": host.name,
            "zone": host.zone,
            "cell": host.cell,
            "status": "enabled" if host.enabled else "disabled",
            "why_disabled": host.why_disabled,
            "health": host.health,
            "epoch": host.epoch,
            "partition": host.partition,
            "endpoint": host.endpoint,
            "uplink": host.uplink,
            "tunnel_key": host.tunnel_key,
            "arch": host.inventory.arch,
            "hypervisor": host.inventory.hypervisor,
            "instances": host.instances,
            **resources,
            "created": host.created,
            "updated": host.updated,
            "version": change.version,
        },
    )


HOSTS = View(
    name="hosts",
    kinds=frozenset({"host"}),
    rows=rows,
    about=aggregate,
    bounded=True,
    columns=(
        ViewColumn("name", indexed=True, patterns=True),
        ViewColumn("zone"),
        ViewColumn("cell", otherwise=DEFAULT_CELL),
        ViewColumn("enabled", "boolean"),
        ViewColumn("health"),
    ),
)
