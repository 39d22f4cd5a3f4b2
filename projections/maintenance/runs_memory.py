"""Runs in memory: the twin of PostgreSQL's, for fast tests."""

from dataclasses import replace
from datetime import datetime

from projections.maintenance.runs import LOST, Run, RunUnderWay, ended, lost, taken
from projections.views.view import UnknownMarker


class MemoryRuns:
    """Runs in a dictionary by id."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}

    async def request(self, run: Run) -> None:
        """Store a new run. Raises RunUnderWay."""
        for other in self._runs.values():
            if other.status in ("asked", "running"):
                raise RunUnderWay(other.id)
        self._runs[run.id] = run

    async def take(self, now: datetime) -> Run | None:
        """Mark the requested run as running and return it, or None; a run whose process was lost becomes failed."""
        for run in self._runs.values():
            if lost(run, now):
                self._runs[run.id] = ended(run, now, (), LOST)
        for run in self._runs.values():
            if run.status == "asked":
                self._runs[run.id] = taken(run, now)
                return self._runs[run.id]
        return None

    async def report_progress(self, ident: str, now: datetime, done: int, total: int) -> None:
        """Record how many events of a running run are done."""
        if self._runs[ident].status == "running":
            self._runs[ident] = replace(self._runs[ident], seen=now, done=done, total=total)

    async def end(self, ident: str, now: datetime, problems: tuple[str, ...] = (), error: str = "") -> None:
        """Mark a running run as finished, or as failed where there is an error."""
        if self._runs[ident].status == "running":
            self._runs[ident] = ended(self._runs[ident], now, problems, error)

    async def get(self, ident: str) -> Run | None:
        """Return the run with this id, or None."""
        return self._runs.get(ident)

    async def page(self, limit: int, marker: str = "") -> list[Run]:
        """Return the newest runs, at most `limit`, requested before the one with the id `marker`. Raises
        UnknownMarker."""
        found = sorted(self._runs.values(), key=_order, reverse=True)
        if marker:
            if marker not in self._runs:
                raise UnknownMarker(marker)
            found = [run for run in found if _order(run) < _order(self._runs[marker])]
        return found[:limit]


def _order(run: Run) -> tuple[datetime, str]:
    return run.asked, run.id
