"""Webhooks as they are listed: what was decided about each. How far its delivery is stands in a table of its own."""

from collections.abc import Iterable

from domain.webhook import Webhook
from projections.views.view import Change, Row, View, ViewColumn, aggregate

HIDDEN_FIELDS = {"project", "begins", "secret_ref", "old_secret_ref", "turn", "begun"}


def _rows(change: Change) -> Iterable[Row]:
    now = change.after
    if not isinstance(now, Webhook):
        return
    doc = {
        **now.model_dump(mode="json", exclude=HIDDEN_FIELDS),
        "project_id": now.project,
        "status": "enabled" if now.enabled else "disabled",
        "version": change.version,
    }
    del doc["enabled"]
    yield Row(
        id=now.id,
        version=change.version,
        created=now.created,
        columns={
            "name": now.name,
            "project": now.project,
            "status": doc["status"],
            "deleted": now.deleted is not None,
        },
        doc=doc,
    )


WEBHOOKS = View(
    name="webhooks",
    kinds=frozenset({"webhook"}),
    rows=_rows,
    columns=(
        ViewColumn("name", indexed=True, patterns=True),
        ViewColumn("project"),
        ViewColumn("status"),
        ViewColumn("deleted", "boolean"),
    ),
    about=aggregate,
)
