"""Read models in memory: the twin of PostgreSQL's, for fast tests."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from operator import attrgetter
from typing import Any

import orjson

from domain.core.event_filter import is_one_of
from domain.core.messages import Key
from infra.log.log import TopicPartition
from projections.store.port import (
    HistoryEntry,
    HistoryQuery,
    Milestone,
    NotMoved,
    ProjectionBatch,
    SearchResult,
    Snapshot,
    StoredState,
    kinds_and_id,
)
from projections.store.postgres import FOUND_AT_MOST
from projections.views.table import VIEWS
from projections.views.view import (
    CREATED,
    Condition,
    Either,
    Found,
    Page,
    Query,
    Row,
    UnknownMarker,
)

NOTHING = Snapshot(0, -1, b"")


class MemoryFrozen:
    """A copy of the read models in memory, as they were at one moment."""

    def __init__(
        self,
        positions: dict[TopicPartition, int],
        rows: dict[str, dict[str, Row]],
        history: dict[str, HistoryEntry],
        states: dict[Key, Snapshot],
        milestones: dict[tuple[Key, int], Milestone],
    ) -> None:
        self.positions = dict(positions)
        self._rows = {name: list(table.values()) for name, table in rows.items()}
        self._history = list(history.values())
        self._states = list(states.items())
        self._milestones = list(milestones.values())

    async def rows(self, view: str) -> AsyncIterator[Row]:
        """Yield every row of a view, its document as its JSON reads."""
        for row in self._rows[view]:
            yield replace(row, doc=orjson.loads(orjson.dumps(row.doc)))

    async def history(self) -> AsyncIterator[HistoryEntry]:
        """Yield every entry of history."""
        for entry in self._history:
            yield entry

    async def states(self) -> AsyncIterator[tuple[Key, Snapshot]]:
        """Yield every stored snapshot, by aggregate."""
        for state in self._states:
            yield state

    async def milestones(self) -> AsyncIterator[Milestone]:
        """Yield every milestone of every aggregate."""
        for milestone in self._milestones:
            yield milestone


class MemoryStore:
    """Read models in dictionaries: rows, history, states and positions."""

    def __init__(self) -> None:
        self._positions: dict[TopicPartition, int] = {}
        self._states: dict[Key, Snapshot] = {}
        self._milestones: dict[tuple[Key, int], Milestone] = {}
        self._rows: dict[str, dict[str, Row]] = {name: {} for name in VIEWS}
        self._history: dict[str, HistoryEntry] = {}

    @asynccontextmanager
    async def frozen(self) -> AsyncIterator[MemoryFrozen]:
        """Open a copy of the read models as they are at this moment, until the block ends."""
        yield MemoryFrozen(self._positions, self._rows, self._history, self._states, self._milestones)

    async def positions(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the offset from which each partition is to be read."""
        return {each: self._positions.setdefault(each, 0) for each in partitions}

    async def states(self, keys: Sequence[Key]) -> dict[Key, StoredState]:
        """Return the last snapshot of each aggregate that is stored, and the events since."""
        tails: dict[Key, list[tuple[str, bytes]]] = {key: [] for key in keys}
        times = {key: self._states.get(key, NOTHING).time for key in keys}
        for entry in sorted(self._history.values(), key=lambda entry: entry.offset):
            last = self._states.get(entry.subject, NOTHING)
            if entry.subject in tails and entry.version > last.version and entry.offset > last.offset:
                tails[entry.subject].append((entry.type, entry.data))
                times[entry.subject] = max(times[entry.subject], entry.time)
        found = {key: self._states.get(key, NOTHING) for key in keys if key in self._states or tails[key]}
        return {
            key: StoredState(last.version, last.state, tuple(tails[key]), times[key]) for key, last in found.items()
        }

    async def last_milestones(self, keys: Sequence[Key]) -> dict[Key, tuple[int, int]]:
        """Return version and bytes of the last milestone of each aggregate that has one."""
        found = {key: await self.milestone(key) for key in keys}
        return {key: (last.version, len(last.state)) for key, last in found.items() if last}

    async def milestone(
        self,
        subject: Key,
        time: datetime | None = None,
        place: tuple[int, int] | None = None,
        version: int | None = None,
    ) -> Milestone | None:
        """Return the newest milestone that is no later than each limit that is set, or None."""
        held = [
            each
            for each in self._milestones.values()
            if each.subject == subject
            and (time is None or each.time <= time)
            and (place is None or (each.partition == place[0] and each.offset <= place[1]))
            and (version is None or each.version <= version)
        ]
        return max(held, key=attrgetter("version"), default=None)

    async def apply(self, batch: ProjectionBatch) -> None:
        """Write the whole batch, with the positions.

        Raises:
            NotMoved: a position is not where the batch begins.
            KeyError: a row lacks a column of its view, as a statement of PostgreSQL would lack a value.
        """
        for name, rows in batch.rows.items():
            for row in rows.values():
                _has_all_columns(name, row)
        wrong = [each for each, start in batch.start.items() if self._positions.get(each, 0) != start]
        if wrong:
            raise NotMoved(f"{len(wrong)} of {len(batch.start)} positions were not where expected")
        self._positions |= batch.end
        for key, snapshot in batch.states.items():
            if self._states.get(key, NOTHING).version < snapshot.version:
                self._states[key] = snapshot
        for each in batch.milestones:
            self._milestones.setdefault((each.subject, each.version), each)
        for name, rows in batch.rows.items():
            table = self._rows[name]
            for row in rows.values():
                if row.id not in table or table[row.id].version <= row.version:
                    table[row.id] = row
        for name, idents in batch.gone.items():
            for ident in idents:
                self._rows[name].pop(ident, None)
        for entry in batch.history:
            self._history.setdefault(entry.id, entry)

    async def get(self, view: str, ident: str) -> Found | None:
        """Return the document with this id, or None."""
        row = self._rows[view].get(ident)
        return _found(row) if row else None

    async def find(self, view: str, name: str, where: dict[str, Any]) -> list[Found]:
        """Return the documents with this name (at most 20), newest first; `where` narrows them by columns."""
        conditions = (Condition("name", "=", name), *(Condition(key, "=", value) for key, value in where.items()))
        return [_found(row) for row in self._select(view, conditions)][:FOUND_AT_MOST]

    async def page(self, view: str, query: Query) -> Page:
        """Return a page of documents in the query's order. Raises UnknownMarker."""
        rows = self._select(view, query.where)
        if query.marker:
            marker = self._rows[view].get(query.marker)
            if marker is None:
                raise UnknownMarker(query.marker)
            in_order = _sorted([*(row for row in rows if row is not marker), marker], query)
            rows = in_order[in_order.index(marker) + 1 :]
        else:
            rows = _sorted(rows, query)
        rows = rows[query.skip :]
        shown = rows[: query.limit]
        return Page(
            docs=[orjson.dumps(row.doc) for row in shown],
            last_id=shown[-1].id if shown else "",
            more=len(rows) > query.limit,
        )

    async def count(self, view: str) -> int:
        """Return the number of rows of a view."""
        return len(self._rows[view])

    async def totals(
        self, view: str, by: str, where: Sequence[Condition], sums: Sequence[Sequence[str]] = ()
    ) -> dict[str, tuple[int, ...]]:
        """Return, for each value of a text column, the number of matching rows, and the sums of the whole numbers that
        their documents have at these paths."""
        found: dict[str, tuple[int, ...]] = {}
        for row in self._select(view, where):
            numbers = (1, *(_number(row.doc, path) for path in sums))
            before = found.get(row.columns[by], (0,) * len(numbers))
            found[row.columns[by]] = tuple(map(sum, zip(before, numbers, strict=True)))
        return found

    async def history(self, query: HistoryQuery) -> list[HistoryEntry]:
        """Return the entries that match, oldest first. Raises UnknownMarker, ValueError for a text that is no
        subject."""
        return [entry for entry in self._driven(query) if _matches(entry, query)][: query.limit]

    async def search(self, query: HistoryQuery, most: int) -> SearchResult:
        """Return the matching entries that are found by looking at `most` entries.

        Raises UnknownMarker, ValueError for a text that is no subject.
        """
        looked_at = self._driven(query)
        entries = [entry for entry in looked_at[:most] if _matches(entry, query)]
        if len(entries) > query.limit:
            return SearchResult(entries[: query.limit], entries[query.limit - 1].id)
        return SearchResult(entries, looked_at[most - 1].id if len(looked_at) > most else "")

    def _driven(self, query: HistoryQuery) -> list[HistoryEntry]:
        """Return the entries that an index would find, in order after the marker: by subject, or else by task and
        time."""
        kinds, ident = kinds_and_id(query.subject) if query.subject else ((), "")
        order = _order_of_log if query.subject else _order
        entries = sorted(self._history.values(), key=order)
        if query.marker:
            marker = self._history.get(query.marker)
            if marker is None:
                raise UnknownMarker(query.marker)
            entries = [entry for entry in entries if order(entry) > order(marker)]
        if query.subject:
            return [entry for entry in entries if entry.subject.kind in kinds and entry.subject.id == ident]
        return [entry for entry in entries if _of_task(entry, query) and _in_time(entry, query)]

    async def event(self, ident: str) -> HistoryEntry | None:
        """Return the entry with this event id, or None."""
        return self._history.get(ident)

    async def close(self) -> None:
        """Do nothing: a store in memory has no connections."""

    def _select(self, view: str, conditions: Sequence[Condition | Either]) -> list[Row]:
        rows = [row for row in self._rows[view].values() if all(each.holds(row) for each in conditions)]
        return sorted(rows, key=lambda row: (row.created, row.id), reverse=True)


def _sorted(rows: Iterable[Row], query: Query) -> list[Row]:
    """Return rows in the order of a query."""
    in_order = sorted(rows, key=lambda row: (row.created, row.id), reverse=True)
    if query.sort == CREATED:
        in_order.reverse()
    elif query.sort:
        in_order.sort(key=lambda row: row.value(query.sort))
    return in_order[::-1] if query.reverse and query.sort else in_order


def _number(doc: dict[str, Any], path: Sequence[str]) -> int:
    found: Any = doc
    for name in path:
        found = found[name]
    return int(found)


def _order(entry: HistoryEntry) -> tuple[datetime | int, ...]:
    return entry.time, entry.partition, entry.offset


def _order_of_log(entry: HistoryEntry) -> tuple[datetime | int, ...]:
    return entry.partition, entry.offset


def _has_all_columns(view: str, row: Row) -> None:
    """Raise KeyError where the row lacks a column of its view."""
    for column in VIEWS[view].columns:
        if column.name not in row.columns:
            raise KeyError(f"{view}: {column.name}")


def _found(row: Row) -> Found:
    return Found(row.id, row.version, orjson.dumps(row.doc))


def _matches(entry: HistoryEntry, query: HistoryQuery) -> bool:
    return all(
        (
            is_one_of(entry.type, query.types),
            entry.version or not query.versioned,
            not query.actor or entry.actor == query.actor,
            not query.project or entry.project == query.project,
            _of_task(entry, query),
            _in_time(entry, query),
        )
    )


def _of_task(entry: HistoryEntry, query: HistoryQuery) -> bool:
    return not query.task or query.task in (entry.correlation, entry.task)


def _in_time(entry: HistoryEntry, query: HistoryQuery) -> bool:
    return (query.since is None or entry.time >= query.since) and (query.until is None or entry.time <= query.until)
