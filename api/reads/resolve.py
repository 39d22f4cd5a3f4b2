"""Resolution of references in requests: an id, or a name if it is unique."""

import uuid
from collections.abc import Mapping
from typing import Any

import orjson
from pydantic.fields import FieldInfo

from api.http.names import normal
from api.http.refusals import NameNotUnique
from api.reads.queries import found_by_now
from api.resource import RESOURCES
from api.services import Services
from domain.core.cells import DEFAULT_CELL
from domain.core.choices import meant
from domain.core.errors import NotFound, Refusal
from domain.core.fields import holds, references, several
from domain.core.messages import Command
from domain.kind import Unique
from projections.views.table import VIEWS
from projections.views.view import Condition, Found, Query

MOST_COMPARED = 200
"""Most names that are compared with one that nobody has."""
SECONDS = len("2026-01-31T12:00:00")


def is_id(ref: str) -> bool:
    """Return whether a reference is written like an id; a name that looks like an id is taken for one."""
    try:
        return len(ref) == 36 and str(uuid.UUID(ref)) == ref.lower()
    except ValueError:
        return False


async def found(services: Services, view: str, ref: str, project: str) -> Found:
    """Return the row with this id, also if it is deleted, or the row with this name that is not deleted.

    Names in the user's own project go before those in others. What the read models do not have yet is waited for.
    Raises NotFound, NameNotUnique.
    """
    if not is_id(ref):
        return await _named(services, view, ref, project)
    missing = NotFound(kind=RESOURCES[view].noun, id=ref)
    row = await found_by_now(services, lambda: services.store.get(view, ref.lower()), missing)
    if row is None or not _seen_by(view, project, row):
        raise missing
    return row


def _seen_by(view: str, project: str, row: Found) -> bool:
    """Return whether a project may know of a row: what has a visibility is others' only if it is public."""
    if VIEWS[view].column("visibility") is None:
        return True
    doc = _read(row)
    own: bool = project == doc["project_id"]
    return own or doc.get("visibility", "public") != "private"


def cell(doc: Mapping[str, Any]) -> str:
    """Return the cell in a host's or zone's document; the default cell for a document of an earlier release."""
    return str(doc.get("cell", DEFAULT_CELL))


async def ident(services: Services, view: str, ref: str, project: str) -> str:
    """Return the id of a reference. An id is not looked up: the engine or the scheduler knows whether it exists.

    Raises NotFound, NameNotUnique.
    """
    if own := RESOURCES[view].ident:
        return await own(services, ref, project)
    return ref.lower() if is_id(ref) else (await _named(services, view, ref, project)).id


async def alive(services: Services, view: str, ref: str, project: str, *, remembered: bool = True) -> dict[str, Any]:
    """Return the document of a resource that is not deleted; unless `remembered`, as the read model has it now.

    Raises NotFound, NameNotUnique."""
    remembered = remembered and RESOURCES[view].remembered
    doc = services.known.get((view, ref, project)) if remembered else None
    if doc is None:
        row = await found(services, view, ref, project)
        doc = orjson.loads(row.doc)
        if doc.get("deleted"):
            raise NotFound(kind=RESOURCES[view].noun, id=ref, hint=_was_deleted(view, doc))
        if remembered:
            services.known[view, ref, project] = doc
    return doc


async def usable(services: Services, view: str, ref: str, project: str) -> dict[str, Any]:
    """Return the document of a resource that is not deleted, and that something else can be made with.

    Raises NotFound, NameNotUnique, and what the resource's check raises.
    """
    doc = await alive(services, view, ref, project)
    if (check := RESOURCES[view].usable) is not None:
        try:
            check(doc)
        except Refusal:
            # It may be usable by now, and what is remembered is a second old.
            check(await alive(services, view, ref, project, remembered=False))
            services.known.pop((view, ref, project), None)
            return await alive(services, view, ref, project)
    return doc


async def referred(
    services: Services, command: type[Command], values: Mapping[str, Any], project: str
) -> dict[str, Any]:
    """Return the values of a command's fields, with ids or copies of the resources in place of references; of several
    in one field, each once.

    Raises NotFound, NameNotUnique.
    """
    found = dict(values)
    for name, mark in references(command).items():
        if not values.get(name):
            continue
        view = next(view for view, resource in RESOURCES.items() if resource.noun == mark.kind)
        field = command.model_fields[name]
        if several(field):
            each = [await _meant(services, view, field, ref, project) for ref in values[name]]
            found[name] = tuple(value for at, value in enumerate(each) if value not in each[:at])
        else:
            found[name] = await _meant(services, view, field, values[name], project)
    return found


async def _meant(services: Services, view: str, field: FieldInfo, ref: str, project: str) -> Any:
    """Return what one reference of a field stands for. Raises NotFound, NameNotUnique."""
    held = holds(field)
    if held is None:
        return await ident(services, view, ref, project)
    return held.model_validate(await usable(services, view, ref, project))


async def _named(services: Services, view: str, name: str, project: str) -> Found:
    name = normal(name)
    kind = RESOURCES[view].kind
    if not VIEWS[view].column("name"):
        raise NotFound(kind=RESOURCES[view].noun, id=name)
    where: dict[str, Any] = {"deleted": False} if VIEWS[view].column("deleted") else {}
    if kind is not None and kind.unique is Unique.PROJECT:
        where["project"] = project

    async def look() -> list[Found] | None:
        return await services.store.find(view, name, where) or None

    try:
        rows = await found_by_now(services, look, NotFound(kind=RESOURCES[view].noun, id=name))
        rows = [row for row in rows or () if _seen_by(view, project, row)]
    except NotFound as error:
        raise await not_found(services, view, name, project) from error
    if not rows:
        raise await not_found(services, view, name, project)
    if len(rows) > 1 and VIEWS[view].column("project"):
        rows = await services.store.find(view, name, where | {"project": project}) or rows
    if len(rows) > 1:
        raise NameNotUnique(kind=RESOURCES[view].noun, name=name, ids=", ".join(sorted(row.id for row in rows)))
    return rows[0]


async def not_found(services: Services, view: str, name: str, project: str = "") -> NotFound:
    """Return the refusal for a name that no resource has. Its hint tells of one that was deleted, the last of them, or
    of names that are like it."""
    noun = RESOURCES[view].noun
    columns = VIEWS[view]
    if columns.column("name") is None:
        return NotFound(kind=noun, id=name)
    alive: tuple[Condition, ...] = ()
    if columns.column("deleted"):
        gone = await services.store.find(view, name, {"deleted": True})
        docs = [_read(each) for each in gone]
        docs = [each for each in docs if each.get("project_id") == project] or (docs if _shared(view) else [])
        if docs:
            return NotFound(kind=noun, id=name, hint=_was_deleted(view, docs[0]))
        alive = (Condition("deleted", "=", False),)
    page = await services.store.page(view, Query(where=alive, limit=MOST_COMPARED))
    others = (str(orjson.loads(doc).get("name") or "") for doc in page.docs)
    return NotFound(kind=noun, id=name, hint=meant(name, filter(None, others)))


def _shared(view: str) -> bool:
    """Return whether a name is found in every project."""
    kind = RESOURCES[view].kind
    return kind is None or kind.unique is not Unique.PROJECT


def _read(found: Found) -> dict[str, Any]:
    doc: dict[str, Any] = orjson.loads(found.doc)
    return doc


def _was_deleted(view: str, doc: Mapping[str, Any]) -> str:
    """Return when a resource was deleted, and how it comes back, where it can."""
    noun, ident = RESOURCES[view].noun, doc["id"]
    at = str(doc.get("deleted") or doc.get("updated"))[:SECONDS]
    told = f"{noun.capitalize()} {ident} of this name was deleted at {at}Z"
    if until := doc.get("purge_at"):
        return f"{told}, and can be restored until {str(until)[:SECONDS]}Z: gs {noun} restore {ident}."
    return f"{told}; its id still shows it: gs {noun} show {ident}."
