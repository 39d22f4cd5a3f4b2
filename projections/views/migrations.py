"""Migrations: each move of an instance from host to host, and how far it is."""

from collections.abc import Iterable

from domain.instance.migration import Migration, MigrationStatus
from domain.instance.state import Instance
from domain.jobs.disk import KeepDisk
from domain.jobs.migration import FetchDisk
from projections.views.view import Change, Row, View, ViewColumn

COPYING = {FetchDisk.__name__, KeepDisk.__name__}
"""Names of the jobs that copy the root disk, to another host or beside it."""


def status(instance: Instance, migration: Migration) -> MigrationStatus:
    """Return how far the migration is, by the steps of its task while that runs."""
    task = instance.running(migration.id)
    if task is None or migration.status is not MigrationStatus.ACCEPTED:
        return migration.status
    moving = [index for index, step in enumerate(task.plan.steps) if step.name in COPYING]
    if moving and (task.done > moving[0] or (task.dispatch and moving[0] in task.dispatch.steps)):
        return MigrationStatus.RUNNING
    return MigrationStatus.PREPARING if instance.incoming else MigrationStatus.ACCEPTED


def about(change: Change) -> str | None:
    """Return the id of the instance's last migration, where the event may have changed it."""
    return change.after.migration.id if _concerns(change) else None


def rows(change: Change) -> Iterable[Row]:
    """Yield the row of the instance's last migration."""
    if not _concerns(change):
        return
    instance: Instance = change.after
    migration = instance.migration
    assert migration is not None
    other = instance.incoming.host if instance.incoming else None
    now = status(instance, migration)
    waits = now in (MigrationStatus.PREPARING, MigrationStatus.RUNNING)
    destination = (other.id, other.name) if waits and other else (migration.destination_id, migration.destination_name)
    doc = {
        "id": migration.id,
        "type": migration.type,
        "status": now,
        "instance_id": instance.id,
        "instance_name": instance.name,
        "project_id": instance.project,
        "source_id": migration.source_id,
        "source_name": migration.source_name,
        "destination_id": destination[0],
        "destination_name": destination[1],
        "old_flavor": migration.old_size.flavor.name if migration.old_size else "",
        "new_flavor": migration.new_size.flavor.name if migration.new_size else "",
        "confirm_at": migration.confirm_at,
        "task_id": migration.id,
        "created": migration.created,
        "updated": change.envelope.time,
        "version": change.version,
    }
    yield Row(
        id=migration.id,
        version=change.version,
        created=migration.created,
        columns={
            "project": instance.project,
            "instance_id": instance.id,
            "status": now,
            "type": migration.type,
            "source_id": migration.source_id,
            "destination_id": destination[0],
        },
        doc=doc,
    )


def _concerns(change: Change) -> bool:
    now, before = change.after, change.before
    if not isinstance(now, Instance) or now.migration is None:
        return False
    earlier = before.migration if isinstance(before, Instance) else None
    return earlier != now.migration or now.running(now.migration.id) is not None


MIGRATIONS = View(
    name="migrations",
    kinds=frozenset({"instance"}),
    rows=rows,
    about=about,
    columns=(
        ViewColumn("project", indexed=True),
        ViewColumn("instance_id", indexed=True),
        ViewColumn("status", indexed=True),
        ViewColumn("type"),
        ViewColumn("source_id", indexed=True),
        ViewColumn("destination_id", indexed=True),
    ),
)
