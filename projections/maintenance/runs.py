"""Requested work on the read models as a whole: rebuilds, rollbacks and comparisons with the log.

Why runs are kept beside the read models and not on the log: they say how a copy of the log was made, and nothing about
machines. Only one is under way at a time, since each takes all that the machine has.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, Protocol, get_args

RunKind = Literal["rebuild", "rollback", "verify"]
KINDS: tuple[RunKind, ...] = get_args(RunKind)
RunStatus = Literal["asked", "running", "finished", "failed"]

SILENCE = timedelta(seconds=30)
"""A run that reported nothing for so long has lost its process."""
MOST_PROBLEMS = 100
LOST = "the process that did it ended before it was done"


class RunUnderWay(Exception):
    """Another run has to end first; its id is the argument."""


@dataclass(frozen=True, slots=True)
class Run:
    """A rebuild, rollback or verification that a user requested, and how far it is."""

    id: str
    kind: RunKind
    status: RunStatus
    actor: str
    asked: datetime
    started: datetime | None = None
    seen: datetime | None = None
    """When the run last reported its progress."""
    finished: datetime | None = None
    done: int = 0
    """Events that the run has processed."""
    total: int = 0
    """Events that the run has to process; 0 while that is not known."""
    problems: tuple[str, ...] = ()
    """Differences that a comparison found: at most 100 lines, of which the last may say how many more there are."""
    error: str = ""


class Runs(Protocol):
    """The port to the stored runs."""

    async def request(self, run: Run) -> None:
        """Store a new run, to be taken by the projector. Raises RunUnderWay, StoreUnavailable."""

    async def take(self, now: datetime) -> Run | None:
        """Mark the requested run as running and return it; None where no run is requested.

        A running run whose process was lost is marked as failed first. Raises StoreUnavailable.
        """

    async def report_progress(self, ident: str, now: datetime, done: int, total: int) -> None:
        """Record how many events of a running run are done. Raises StoreUnavailable."""

    async def end(self, ident: str, now: datetime, problems: tuple[str, ...] = (), error: str = "") -> None:
        """Mark a running run as finished, or as failed where there is an error. A run that ended before stays as it is.
        Raises StoreUnavailable."""

    async def get(self, ident: str) -> Run | None:
        """Return the run with this id, or None. Raises StoreUnavailable."""

    async def page(self, limit: int, marker: str = "") -> list[Run]:
        """Return the newest runs, at most `limit`, requested before the one with the id `marker`.

        Raises UnknownMarker, StoreUnavailable.
        """


def lost(run: Run, now: datetime) -> bool:
    """Say whether the run's process must have ended, since it reported nothing for SILENCE."""
    return run.status == "running" and now - (run.seen or run.asked) > SILENCE


def taken(run: Run, now: datetime) -> Run:
    """Return a copy of the run that is running since `now`."""
    return replace(run, status="running", started=now, seen=now)


def ended(run: Run, now: datetime, problems: tuple[str, ...], error: str) -> Run:
    """Return a copy of the run that ended at `now`."""
    status: RunStatus = "failed" if error else "finished"
    return replace(run, status=status, finished=now, problems=problems[:MOST_PROBLEMS], error=error)
