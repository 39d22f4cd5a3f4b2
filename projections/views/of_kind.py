"""The read model of a kind that declares none of its own: its document is its state."""

from collections.abc import Iterable
from typing import Any

from domain.kind import FilterType, Kind
from domain.tasks.placed import PlacedSubject
from domain.tasks.subject import TaskSubject
from projections.views import faults
from projections.views.view import Change, Row, View, ViewColumn, aggregate

OF_TASKS = frozenset(TaskSubject.model_fields) - {"id"}
OF_PLACES = frozenset({"host", "claim", "wanted_host"})
"""Fields of an aggregate with a place on a host that its document shows in another form, or not at all."""
NOTHING: dict[FilterType, str] = {"text": "", "bigint": "0", "boolean": "false", "timestamptz": "epoch", "text[]": "{}"}
"""Values of a column in rows that were written before the kind had its filter; a rebuild replaces them."""


def view_of(kind: Kind) -> View:
    """Make a view with one row an aggregate, from the kind's row in the table of kinds."""

    def rows(change: Change) -> Iterable[Row]:
        now = change.after
        if not isinstance(now, kind.state):
            return
        doc = _document(kind, now)
        yield Row(
            id=doc["id"],
            version=change.version,
            created=now.created,  # type: ignore[attr-defined]
            columns={
                "name": doc["name"],
                "project": doc.get("project_id", ""),
                "deleted": doc["deleted"] is not None,
                **{each.column: doc[each.column] for each in kind.filters},
            },
            doc={**doc, "version": change.version},
        )

    # A filter that a later release has needs its column in tables that are there already.
    own = (ViewColumn(each.column, each.type, indexed=True, otherwise=NOTHING[each.type]) for each in kind.filters)
    columns = (
        ViewColumn("name", indexed=True, patterns=True),
        ViewColumn("project"),
        ViewColumn("deleted", "boolean"),
        *own,
    )
    return View(name=kind.plural, kinds=frozenset({kind.name}), rows=rows, columns=columns, about=aggregate)


def _document(kind: Kind, now: Any) -> dict[str, Any]:
    tasks = OF_TASKS if kind.with_tasks else frozenset()
    places = OF_PLACES if isinstance(now, PlacedSubject) else frozenset()
    doc: dict[str, Any] = now.model_dump(mode="json", exclude={*kind.hidden, *tasks, *places})
    doc |= {name: getattr(now, name) for name in kind.computed}
    project = doc.pop("project", "")
    if project:
        doc["project_id"] = project
    if kind.with_tasks:
        task = now.task or now.queued
        action = kind.actions.get(now.task.action) if now.task else None
        if "fault" in doc:
            doc["fault"] = faults.document(now.fault, kind.name, now)
        doc["status"] = (action.during if action else "") or now.current_status
        doc["task"] = {"id": task.id, "action": task.action, "step": task.current_step} if task else None
    if isinstance(now, PlacedSubject):
        host = now.host
        doc["host"] = {"id": host.id, "name": host.name, "epoch": host.epoch} if host else None
        doc["host_id"] = host.id if host else ""
    return doc
