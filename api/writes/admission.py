"""Admission control: limits on the work that is accepted and not done yet.

Why measured, not counted for each request: an API process is one of several, and its load on log and database must not
grow with the number of requests. So it measures twice a second, and counts what it admits itself until the measurement
after the next: work that was admitted just before a measurement may not be in it. Work that other processes admit
meanwhile comes on top.

Why some commands pass: deleting, cancelling, releasing and disabling end an overload. They are refused only above
twice the limit, and never for the number of tasks.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from api.http.refusals import Overloaded
from domain.aggregates import AGGREGATES, CELL_KINDS
from domain.core.messages import Command, Topic
from infra.db.write_store import WriteStore, WriteStoreUnavailable
from infra.log.lag import behind
from infra.log.log import Log, LogUnavailable
from infra.process import metrics
from infra.process.loops import every
from infra.process.settings import Settings
from projections.store.port import Store, StoreUnavailable
from projections.views.view import Condition

READ_BY = {"engine": (Topic.COMMANDS, Topic.RESULTS), "scheduler": (Topic.SCHEDULING,)}
EVERY = 0.5
"""Seconds between two measurements."""
CELLS_EVERY = 5.0
"""Seconds between two counts of each cell's hosts, which takes reading the row of every host."""
LEAST = 0.001
"""Least number of seconds between two measurements for the computation of rates."""
SHORTEST_WAIT, LONGEST_WAIT = 1, 30
"""Least and greatest number of seconds in Retry-After."""
UNKNOWN_WAIT = 2
"""Seconds in Retry-After before any rate was measured."""
MEMORY = 0.2
"""Weight of the newest measurement in the moving average of a rate."""
RELIEF = 2
"""Factor by which limits are higher for commands that end work."""
UNDER_WAY = ["queued", "running", "cancelling", "undoing"]
MAKES_TASK = frozenset(
    action.command for kind in AGGREGATES.values() for action in kind.actions.values() if action.flow.steps
)
VERDICTS, ENGINE, SCHEDULER, TASKS, PROJECT = "verdicts", "engine", "scheduler", "tasks", "project"
METERS = (ENGINE, SCHEDULER, TASKS)
BOUNDS = {
    VERDICTS: ("api.max_in_flight", "commands wait for a verdict"),
    ENGINE: ("api.max_waiting", "records wait for the engine"),
    SCHEDULER: ("api.max_waiting", "records wait for the scheduler"),
    TASKS: ("api.max_tasks", "tasks are under way"),
    PROJECT: ("api.max_project_tasks", "tasks of the project are under way"),
}
"""For each limit, its setting, and the words that describe the work it counts."""


@dataclass(slots=True)
class Meter:
    """A measured amount of work that has a limit."""

    now: int = 0
    """Amount at the last measurement."""
    begun: int = 0
    """Amount admitted since the last measurement."""
    settling: int = 0
    """Amount admitted between the last two measurements, which the last one may not have."""
    rate: float | None = None
    """Amount done a second while there was work; None until there was any."""
    turned: float = 0.0
    """Amount refused before, which is expected to return before what is refused next."""

    @property
    def there(self) -> int:
        """The present amount, as far as it is known."""
        return self.now + self.settling + self.begun

    def seen(self, now: int, done: int, seconds: float, begun: int) -> None:
        """Record a measurement: the amount now, and that done in these seconds; `begun` was admitted before it."""
        if self.now:
            measured = done / seconds
            before = self.rate or measured
            self.rate = before + (measured - before) * MEMORY
        self.now = now
        self.settling = begun
        self.begun -= begun
        self.turned = max(0.0, self.turned - max(done, 1))

    def wait(self, count: int, most: int) -> int:
        """Return after how many whole seconds this many more may be admitted, at the present rate."""
        ahead = self.there + count - most + self.turned
        self.turned = min(self.turned + count, (self.rate or 0.0) * LONGEST_WAIT)
        if self.rate is None:
            return UNKNOWN_WAIT
        seconds = math.ceil(ahead / self.rate) if self.rate else LONGEST_WAIT
        return min(max(seconds, SHORTEST_WAIT), LONGEST_WAIT)


class Admission:
    """The work under way, as this process knows it, and the decision whether more is admitted."""

    def __init__(self, settings: Settings, log: Log, store: Store, deciding: Mapping[str, WriteStore]) -> None:
        self._settings = settings
        self.ended = 0
        """Number of ended tasks, counted by the reader of the events."""
        self._log = log
        self._store = store
        self._deciding = deciding
        self._meters = {name: Meter() for name in METERS}
        self._projects: Counter[str] = Counter()
        self._begun: Counter[str] = Counter()
        self._settling: Counter[str] = Counter()
        self.cells: dict[str, int] = {}
        """Number of hosts of each cell, as far as it is known."""
        self._counted = 0.0
        self._positions: dict[str, int] = {}
        self._looked: float | None = None
        self._ended_before = 0

    def admit(self, command: type[Command], project: str, count: int, verdicts: int) -> None:
        """Check that this many commands may be sent now, while `verdicts` others wait for a verdict. Raises Overloaded.

        If there is no work at all, any number is admitted: otherwise a request above a limit would never succeed.
        """
        limits = self._settings.api
        relief = RELIEF if command.relieves else 1
        self._check(VERDICTS, verdicts, count, limits.max_in_flight * relief, None)
        for each in (ENGINE, SCHEDULER) if command in MAKES_TASK else (_reader(command),):
            meter = self._meters[each]
            self._check(each, meter.there, count, limits.max_waiting * relief, meter)
        if command in MAKES_TASK and not command.relieves:
            meter = self._meters[TASKS]
            self._check(TASKS, meter.there, count, limits.max_tasks, meter)
            own = self._projects[project] + self._settling[project] + self._begun[project]
            self._check(PROJECT, own, count, limits.max_project_tasks, self._share(project))

    def begins(self, command: type[Command], project: str, count: int) -> None:
        """Count commands that are being sent now as admitted."""
        self._meters[_reader(command)].begun += count
        if command in MAKES_TASK:
            self._meters[TASKS].begun += count
            self._begun[project] += count

    def _check(self, name: str, there: int, count: int, most: int, meter: Meter | None) -> None:
        if not there or there + count <= most:
            return
        metrics.OVERLOADS.labels(name).inc()
        seconds = meter.wait(count, most) if meter else SHORTEST_WAIT
        bound, what = BOUNDS[name]
        raise Overloaded(now=there, what=what, bound=bound, most=most, retry_after=seconds)

    def _share(self, project: str) -> Meter:
        """Return a meter of a project's tasks, whose rate is the project's share of the rate of all tasks."""
        whole = self._meters[TASKS]
        share = self._projects[project] / whole.now if whole.now else 1.0
        return Meter(
            self._projects[project],
            self._begun[project],
            self._settling[project],
            whole.rate * share if whole.rate is not None else None,
        )

    async def look(self) -> None:
        """Measure the work under way. Raises LogUnavailable, WriteStoreUnavailable, StoreUnavailable."""
        begun = {name: meter.begun for name, meter in self._meters.items()}
        of_projects, ended = self._begun.copy(), self.ended
        bounds = await self._log.bounds([topic for topics in READ_BY.values() for topic in topics])
        at = {}
        for name, write_store in self._deciding.items():
            at[name] = await write_store.reached([each for each in bounds if each.topic in READ_BY[name]])
        found = await self._store.totals("tasks", "project", [Condition("status", "in", UNDER_WAY)])
        tasks = {project: count for project, (count,) in found.items()}
        now = asyncio.get_running_loop().time()
        if not self.cells or now - self._counted >= CELLS_EVERY:
            self.cells = {cell: hosts for cell, (hosts,) in (await self._store.totals("hosts", "cell", [])).items()}
            self._counted = now
        seconds = max(now - (now if self._looked is None else self._looked), LEAST)
        self._looked = now
        for name, positions in at.items():
            reached = sum(positions.values())
            done = reached - self._positions.get(name, reached)
            self._positions[name] = reached
            self._meters[name].seen(behind(positions, bounds), done, seconds, begun[name])
        self._meters[TASKS].seen(sum(tasks.values()), ended - self._ended_before, seconds, begun[TASKS])
        self._ended_before = ended
        self._projects = Counter(tasks)
        self._settling = of_projects
        self._begun = Counter({name: count for name, count in (self._begun - of_projects).items() if count})
        for name, measured in self._meters.items():
            metrics.LOAD.labels(name).set(measured.now)

    async def run(self) -> None:
        """Measure the load every `EVERY` seconds, until cancelled.

        While the log or the database does not answer, the last measurement holds: no command is accepted then.
        """
        await every(EVERY, self.look, name="load", failures=(LogUnavailable, WriteStoreUnavailable, StoreUnavailable))


def _reader(command: type[Command]) -> str:
    return SCHEDULER if command.kind in CELL_KINDS else ENGINE
