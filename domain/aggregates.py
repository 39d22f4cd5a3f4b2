"""Every kind of aggregate, with all that replay needs and nothing that could decide or send.

A kind's row is `KIND` in `domain/NAME.py`, or in `domain/NAME/kind.py` where it is a package: a row that is there is in
the table.
"""

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterator

import domain
from domain.core.messages import Envelope
from domain.kind import DecidedBy, Kind
from domain.tasks.events import TaskAccepted

READERS = frozenset({"aggregates", "catalog", "personal_data"})
"""Modules that read the table, and so are not looked into for rows."""


def _rows() -> Iterator[Kind]:
    for found in pkgutil.iter_modules(domain.__path__):
        name = f"domain.{found.name}.kind" if found.ispkg else f"domain.{found.name}"
        if found.name in READERS or importlib.util.find_spec(name) is None:
            continue
        row = getattr(importlib.import_module(name), "KIND", None)
        if isinstance(row, Kind):
            yield row


AGGREGATES: dict[str, Kind] = {row.name: row for row in _rows()}
"""Every kind's row by its name, in the order of the names."""

WITH_TASKS = frozenset(kind for kind, row in AGGREGATES.items() if row.with_tasks)
"""Kinds of aggregates that tasks work on."""

DECIDED: dict[str, tuple[str, ...]] = {
    by.value: tuple(kind for kind, row in AGGREGATES.items() if row.decided_by is by) for by in DecidedBy
}
"""Process that decides -> names of the kinds for which it does."""
CELL_KINDS = frozenset(DECIDED[DecidedBy.SCHEDULER])
"""Kinds whose commands pass through the scheduler of a cell."""


def begins_task(envelope: Envelope) -> bool:
    """Say whether an event that carries a command's verdict begins its task: the acceptance does, and so does the
    creation of an aggregate whose acceptance follows at once."""
    kind = AGGREGATES.get(envelope.subject.kind)
    born = kind is not None and kind.born_in_task and envelope.aggversion == 1
    return born or isinstance(envelope.data, TaskAccepted)
