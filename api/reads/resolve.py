"""Resolution of references in requests: an id, or a name if it is unique."""

import uuid
from collections.abc import Mapping
from typing import Any

import orjson

from api.http.refusals import NameNotUnique
from api.resource import RESOURCES
from api.services import Services
from domain.aggregates import AGGREGATES
from domain.core.cells import DEFAULT_CELL
from domain.core.errors import NotFound
from domain.core.fields import holds, references
from domain.core.messages import Command
from projections.views.table import VIEWS
from projections.views.view import Found


def is_id(ref: str) -> bool:
    """Return whether a reference is written like an id; a name that looks like an id is taken for one."""
    try:
        return len(ref) == 36 and str(uuid.UUID(ref)) == ref.lower()
    except ValueError:
        return False


async def found(services: Services, view: str, ref: str, project: str) -> Found:
    """Return the row with this id, also if it is deleted, or the row with this name that is not deleted.

    Names in the user's own project go before those in others. Raises NotFound, NameNotUnique.
    """
    if is_id(ref):
        row = await services.store.get(view, ref.lower())
        if row is None:
            raise NotFound(kind=RESOURCES[view].noun, id=ref)
        return row
    return await _named(services, view, ref, project)


def cell(doc: Mapping[str, Any]) -> str:
    """Return the cell in a host's or zone's document; the default cell for a document of an earlier release."""
    return str(doc.get("cell", DEFAULT_CELL))


async def ident(services: Services, view: str, ref: str, project: str) -> str:
    """Return the id of a reference. An id is not looked up: the engine or the scheduler knows whether it exists.

    Raises NotFound, NameNotUnique.
    """
    return ref.lower() if is_id(ref) else (await _named(services, view, ref, project)).id


async def alive(services: Services, view: str, ref: str, project: str) -> dict[str, Any]:
    """Return the document of a resource that is not deleted. Raises NotFound, NameNotUnique."""
    doc = services.known.get((view, ref, project)) if RESOURCES[view].remembered else None
    if doc is None:
        row = await found(services, view, ref, project)
        doc = orjson.loads(row.doc)
        if doc.get("deleted"):
            raise NotFound(kind=RESOURCES[view].noun, id=ref)
        if RESOURCES[view].remembered:
            services.known[view, ref, project] = doc
    return doc


async def referred(
    services: Services, command: type[Command], values: Mapping[str, Any], project: str
) -> dict[str, Any]:
    """Return the values of a command's fields, with ids or copies of the resources in place of references.

    Raises NotFound, NameNotUnique.
    """
    found = dict(values)
    for name, mark in references(command).items():
        if not values.get(name):
            continue
        view = AGGREGATES[mark.kind].plural
        held = holds(command.model_fields[name])
        if held is None:
            found[name] = await ident(services, view, values[name], project)
        else:
            found[name] = held.model_validate(await alive(services, view, values[name], project))
    return found


async def _named(services: Services, view: str, name: str, project: str) -> Found:
    where = {"deleted": False} if VIEWS[view].column("deleted") else {}
    rows = await services.store.find(view, name, where) if VIEWS[view].column("name") else []
    if len(rows) > 1 and VIEWS[view].column("project"):
        rows = await services.store.find(view, name, where | {"project": project}) or rows
    if not rows:
        raise NotFound(kind=RESOURCES[view].noun, id=name)
    if len(rows) > 1:
        raise NameNotUnique(kind=RESOURCES[view].noun, name=name, ids=", ".join(sorted(row.id for row in rows)))
    return rows[0]
