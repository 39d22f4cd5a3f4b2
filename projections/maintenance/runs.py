"""Work on the read models as a whole that someone asked for: rebuilds, rollbacks and comparisons with the log.

Why kept beside the read models and not on the log: it says how a copy of the log was made, and nothing about machines.
One is under way at a time, since each takes all that the machine has.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, Protocol, get_args

RunKind = Literal["rebuild", "rollback", "verify"]
KINDS: tuple[RunKind, ...] = get_args(RunKind)
RunStatus = Literal["asked", "running", "finished", "failed"]

SILENCE = timedelta(seconds=30)
"""A run that said nothing for so long has lost its process."""
MOST_PROBLEMS = 100
LOST = "the process that did it ended before it was done"


class RunUnderWay(Exception):
    """There is another one, which has to end first; its id is the argument."""


@dataclass(frozen=True, slots=True)
class Run:
    """One of them."""

    id: str
    kind: RunKind
    status: RunStatus
    actor: str
    asked: datetime
    started: datetime | None = None
    seen: datetime | None = None
    """When it last said how far it is."""
    finished: datetime | None = None
    done: int = 0
    """Events it has taken."""
    total: int = 0
    """Events in all; 0 while that is not known."""
    problems: tuple[str, ...] = ()
    """Differences that a comparison found: at most 100 lines, of which the last may say how many more there are."""
    error: str = ""


class Runs(Protocol):
    """All of them, the newest first."""

    async def request(self, run: Run) -> None:
        """One more. Raises RunUnderWay, StoreUnavailable."""

    async def take(self, now: datetime) -> Run | None:
        """The one that was asked for, now running, for whoever calls; None where there is none. One whose process was
        lost is failed by this."""

    async def report_progress(self, ident: str, now: datetime, done: int, total: int) -> None:
        """How far a running one is."""

    async def end(self, ident: str, now: datetime, problems: tuple[str, ...] = (), error: str = "") -> None:
        """A running one has ended: failed where there is an error. One that has ended stays as it is."""

    async def get(self, ident: str) -> Run | None:
        """One."""

    async def page(self, limit: int, marker: str = "") -> list[Run]:
        """At most `limit` that were asked for before the one with the id `marker`. Raises UnknownMarker."""


def lost(run: Run, now: datetime) -> bool:
    """Whether its process must have ended."""
    return run.status == "running" and now - (run.seen or run.asked) > SILENCE


def taken(run: Run, now: datetime) -> Run:
    """It, running."""
    return replace(run, status="running", started=now, seen=now)


def ended(run: Run, now: datetime, problems: tuple[str, ...], error: str) -> Run:
    """It, at its end."""
    status: RunStatus = "failed" if error else "finished"
    return replace(run, status=status, finished=now, problems=problems[:MOST_PROBLEMS], error=error)
