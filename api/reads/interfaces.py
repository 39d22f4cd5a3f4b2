"""Network interfaces of an instance, each with the settings of its port.

Why put together when they are read: the settings are the port's, change without its instance, and stand in its row.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from api.documents.instances import InterfaceDocument, NicDocument
from api.services import Services
from projections.views.view import Condition, Query

OF_PORTS = {"port_name": "name"} | {
    name: name
    for name in InterfaceDocument.model_fields
    if name not in NicDocument.model_fields and name != "port_name"
}
"""Field of an interface -> the field of its port that has its value."""


async def interfaces_of(services: Services, instance: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the interfaces in an instance's document, in the guest's order; what is a port's is None without one."""
    nics: list[dict[str, Any]] = instance["nics"]
    ports: dict[str, dict[str, Any]] = {}
    if wanted := sorted({nic["port_id"] for nic in nics} - {""}):
        found = await services.store.page("ports", Query(where=(Condition("id", "in", wanted),), limit=len(wanted)))
        ports = {port["id"]: port for port in map(orjson.loads, found.docs)}
    return [
        nic | {name: ports.get(nic["port_id"], {}).get(of_port) for name, of_port in OF_PORTS.items()} for nic in nics
    ]
