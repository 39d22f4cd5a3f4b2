"""Walk a verb from a state to its end, with each job done, failed, late, lost, aborted or answered twice as wished.

Built on the action tables alone: a new verb of any kind is walked in every way without a test of its own. What holds
whatever happens is asserted after every record, and where the walk ends.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from commands.engine import DECIDERS
from domain.copied_disk import CopiedDisk
from domain.core.errors import Refusal
from domain.core.messages import Command, Event, Key, Outgoing, Topic
from domain.core.resources import Resources
from domain.host.state import Host
from domain.network.state import Network
from domain.tasks.action import Action, TaskRules
from domain.tasks.events import (
    CancelTask,
    DeadlinePassed,
    TaskAccepted,
    TaskEvent,
    TaskFailed,
    TaskFinished,
    TaskPlanned,
)
from domain.tasks.job import Where
from domain.tasks.messages import AbortJobs, DispatchHostJobs, JobCall, JobError, JobResult, JobsAnswered, Reply
from domain.tasks.subject import TaskSubject
from domain.tasks.task import Direction, Task, job_id
from domain.volume.state import Volume
from tests.harness.answers import facts_of
from tests.harness.samples import sample
from tests.harness.stage import Decide, Stage

MOST_RECORDS = 2000
"""After so many, what does not end never will."""
READ_BACK: set[int] = set()
"""Hashes of states that were written and read back the same: walks of one verb have most of theirs in common."""


class Fate(Enum):
    """What becomes of a job."""

    DONE = "done"
    FAILS = "fails"
    """It did something, perhaps all, and says that it failed."""
    REFUSED = "refused"
    """It did nothing, and says so."""
    LATE = "late"
    """It is done, and its answer does not come in time."""
    LOST = "lost"
    """It is neither done nor answered."""
    ABORTED = "aborted"
    """It was stopped in the middle, and says so."""


Fates = Callable[[Direction, int], Fate]
"""Given the direction and a step's index: what becomes of the job, this time."""


def all_done(direction: Direction, index: int) -> Fate:
    """Every job succeeds."""
    return Fate.DONE


def fated(*faults: tuple[Direction, int, Fate], times: int = MOST_RECORDS) -> Fates:
    """These steps have these fates so many times; after that, and all others, succeed."""
    left = {(direction, index): times for direction, index, _ in faults}
    fates = {(direction, index): fate for direction, index, fate in faults}

    def fate(direction: Direction, index: int) -> Fate:
        if left.get((direction, index), 0) == 0:
            return Fate.DONE
        left[direction, index] -= 1
        return fates[direction, index]

    return fate


@dataclass(frozen=True)
class Walked:
    """A kind of aggregate whose verbs are walked."""

    rules: TaskRules[Any]
    decide: Decide
    create: Command
    """Makes one."""
    key: Key
    local: bool = False
    """Only tests know this kind."""
    before: Callable[[Stage], object] = lambda stage: None
    """Makes on a stage what one of this kind is made of."""

    def stage(self) -> Stage:
        """A stage on which this kind can play, with nothing of it."""
        stage = Stage.with_hosts(**({self.key.kind: (self.decide, self.rules.evolve)} if self.local else {}))
        self.before(stage)
        return stage


@dataclass
class Walk:
    """One aggregate's way through one or more tasks."""

    kind: Walked
    stage: Stage
    fates: Fates = all_done
    twice: bool = False
    """Every job is delivered twice, and every answer too."""
    interrupt: tuple[int, Callable[["Walk"], None]] | None = None
    """What happens when this step is on its way for the first time."""
    ran: list[tuple[str, Direction, int]] = field(default_factory=list)
    """Task, direction and step of each job that was done, whatever was said of it."""
    interrupted: tuple[int, ...] = ()
    """Steps that were on their way together when that happened."""
    aborts: list[AbortJobs] = field(default_factory=list)
    withheld: list[Outgoing] = field(default_factory=list)
    """Answers that did not come in time."""
    events: list[Event] = field(default_factory=list)
    others: list[Outgoing] = field(default_factory=list)
    """What another aggregate is to be told, by an aggregate whose task goes on within this one's."""

    @property
    def now(self) -> Any:
        """The aggregate."""
        return self.stage.states.get(self.kind.key)

    def send(self, message: Any) -> "Walk":
        """Send the aggregate something; raises the Refusal."""
        self.events += self.stage.send(self.kind.key, message)
        self._what_always_holds()
        return self

    def settle(self) -> "Walk":
        """Go on until nothing is on its way."""
        for _ in range(MOST_RECORDS):
            if self.stage.sent:
                self._deliver(self.stage.sent.pop(0))
            elif self.now is not None and self.now.tasks:
                self.let_deadline_pass()
            else:
                return self
        raise AssertionError("it does not end")

    def let_deadline_pass(self) -> None:
        """What is on its way is not answered in time."""
        self.stage.time = max(self.stage.time, self.now.due_at)
        self.send(DeadlinePassed(due_id=self.now.due_id))

    def deliver_late(self) -> None:
        """The answers that did not come in time come now."""
        for answer in self.withheld:
            self.send(answer.data)
        self.withheld.clear()

    def _deliver(self, outgoing: Outgoing) -> None:
        data = outgoing.data
        if outgoing.topic is Topic.RESULTS and outgoing.subject != self.kind.key:
            self.others.append(outgoing)
        elif outgoing.topic is Topic.RESULTS:
            for _ in range(2 if self.twice else 1):
                self.send(data)
        elif isinstance(data, AbortJobs):
            self.aborts.append(data)
        elif isinstance(data, DispatchHostJobs) and not data.task_id:
            self._at_host(data, ())
        elif isinstance(data, DispatchHostJobs):
            steps = self._steps(data.task_id, tuple(call.job_id for call in data.jobs))
            self._interrupted(steps)
            self._at_host(data, steps)
        else:
            reply: Reply = data.reply  # type: ignore[attr-defined]
            ((direction, index),) = steps = self._steps(reply.task_id, (reply.job_id,))
            self._interrupted(steps)
            self._elsewhere(outgoing, reply, direction, index)

    def _steps(self, task_id: str, job_ids: tuple[str, ...]) -> tuple[tuple[Direction, int], ...]:
        # What an answer that came twice has sent again may arrive when its task has ended.
        task = next(task for task in reversed(self._planned()) if task.id == task_id)
        known = {
            job_id(task, direction, index): (direction, index)
            for direction in Direction
            for index in range(len(task.plan.steps))
        }
        return tuple(known[each] for each in job_ids)

    def _interrupted(self, steps: tuple[tuple[Direction, int], ...]) -> None:
        if self.interrupt and (Direction.FORWARD, self.interrupt[0]) in steps:
            happens, self.interrupt = self.interrupt[1], None
            self.interrupted = tuple(index for _, index in steps)
            happens(self)

    def _at_host(self, dispatch: DispatchHostJobs, steps: tuple[tuple[Direction, int], ...]) -> None:
        host: Host = self.stage.states[Key("host", dispatch.host_id)]
        results: list[JobResult] = []
        if dispatch.epoch < host.epoch:
            stale = JobError(code="stale-epoch", message="registered anew", details={"epoch": host.epoch})
            results.append(_result(dispatch.jobs[0], error=stale))
            steps = ()
        silent = False
        for call, (direction, index) in zip(dispatch.jobs, steps, strict=False):
            fate = self.fates(direction, index)
            if fate in (Fate.DONE, Fate.FAILS, Fate.LATE):
                self.ran.append((dispatch.task_id, direction, index))
            silent = silent or fate in (Fate.LATE, Fate.LOST)
            error = _error(fate, call.name)
            results.append(_result(call, error, () if error else facts_of(self.now, call)))
            if error or fate is Fate.LOST:
                break
        answer = JobsAnswered(
            task_id=dispatch.task_id,
            dispatch_id=dispatch.dispatch_id,
            host_id=dispatch.host_id,
            epoch=dispatch.epoch,
            results=tuple(results),
        )
        answers = self.withheld if silent else self.stage.sent
        answers.append(Outgoing(Topic.RESULTS, self.kind.key, answer))

    def _elsewhere(self, outgoing: Outgoing, reply: Reply, direction: Direction, index: int) -> None:
        fate = self.fates(direction, index)
        before = len(self.stage.sent)
        if fate in (Fate.DONE, Fate.FAILS, Fate.LATE):
            for _ in range(2 if self.twice else 1):
                self._ask(outgoing)
            if not all(map(_refused, self.stage.sent[before:])):
                self.ran.append((reply.task_id, direction, index))
        answers = self.stage.sent[before:]
        if fate is not Fate.DONE:
            del self.stage.sent[before:]
        if fate is Fate.LATE:
            self.withheld += answers
        if error := _error(fate, "job"):
            result = JobResult(job_id=reply.job_id, name="", error=error)
            answer = JobsAnswered(task_id=reply.task_id, dispatch_id=reply.dispatch_id, results=(result,))
            self.stage.sent.append(Outgoing(Topic.RESULTS, self.kind.key, answer))

    def _ask(self, outgoing: Outgoing) -> None:
        """Have another aggregate decide; a task of its own that begins by that is done to its end."""
        ours, self.stage.sent = self.stage.sent, []
        events = self.stage.send(outgoing.subject, outgoing.data)
        if any(isinstance(each, TaskAccepted) for each in events):
            module: Any = DECIDERS[outgoing.subject.kind]
            other = Walk(Walked(module.RULES, module.decide, self.kind.create, outgoing.subject), self.stage)
            other.events += events
            other.settle()
            self.stage.sent += other.others
        self.stage.sent = [*ours, *self.stage.sent]

    def _what_always_holds(self) -> None:
        now: TaskSubject = self.now
        for task in now.tasks:
            assert task.dispatch is not None, f"task {task.action} waits for nothing"
            assert task.dispatch.deadline > task.dispatch.sent
        if now.tasks:
            assert now.due_at == min(task.dispatch.deadline for task in now.tasks if task.dispatch)
            assert now.due_id in [task.dispatch.id for task in now.tasks if task.dispatch]
        else:
            assert now.queued is None, "what waits for nothing has begun"
        text = now.model_dump_json(exclude_defaults=True)
        if hash(text) not in READ_BACK:
            assert type(now).model_validate_json(text) == now
            READ_BACK.add(hash(text))

    # What a test asks when it has ended

    def task_of(self, action: str) -> Task:
        """The last task of this action, as it was planned."""
        return [task for task in self._planned() if task.action == action][-1]

    def _planned(self) -> list[Task]:
        return [each.task for each in self.events if isinstance(each, TaskAccepted | TaskPlanned)]

    def ending(self, task: Task) -> TaskFinished | TaskFailed:
        """How a task ended; it did once."""
        (ending,) = [
            each for each in self.events if isinstance(each, TaskFinished | TaskFailed) and each.task_id == task.id
        ]
        return ending

    def of_task(self, task: Task) -> list[TaskEvent]:
        """All that happened to a task."""
        return [each for each in self.events if isinstance(each, TaskEvent) and each.task_id == task.id]

    def undone(self, task: Task) -> list[int]:
        """Steps whose undo was done, in order, each once."""
        return list(dict.fromkeys(i for ident, way, i in self.ran if ident == task.id and way is Direction.UNDO))

    def done(self, task: Task) -> list[int]:
        """Steps that were done, in order, each once."""
        return list(dict.fromkeys(i for ident, way, i in self.ran if ident == task.id and way is Direction.FORWARD))

    def assert_undone(self, task: Task) -> None:
        """Every step that was or may have been done, and has an undo, was undone once, the last first."""
        undone = self.undone(task)
        assert undone == sorted(undone, reverse=True)
        assert {index for index in self.done(task) if task.plan.steps[index].undo} <= set(undone)

    def assert_consistent(self, unsure: bool = False) -> None:
        """What hosts and networks hold for the aggregate is what it knows of, and nothing else. `unsure`: something
        that has no undo may have been done, so that it may know of what is held no more."""
        now = self.now
        claims = {
            (host.id, ident)
            for host in self.stage.hosts
            for ident, claim in host.claims.items()
            if claim.instance_id == now.id
        }
        if hasattr(now, "held"):
            places = [now.held(where) for where in Where]
            known = {(host.id, claim or now.id) for host, claim in places if host is not None}
            assert claims <= known if unsure else claims == known
            amounts = {ident: Resources.of(claim) for host in self.stage.hosts for ident, claim in host.claims.items()}
            assert unsure or all(amounts[ident] == size for ident, size in now.reserved().items())
        if hasattr(now, "nics"):
            networks = [each for each in self.stage.states.values() if isinstance(each, Network)]
            ports = {port.id for each in networks for port in each.ports.values() if port.instance_id == now.id}
            # A port that outlives the instance stays named when it is given back, without its address.
            known_ports = {nic.port_id for nic in now.nics if nic.ip}
            assert ports <= known_ports if unsure else ports == known_ports
        # What is copied is held for as long as the copy is being made.
        disks = [each for each in self.stage.states.values() if isinstance(each, CopiedDisk)]
        assert [each.id for each in disks if str(self.kind.key) in each.copies] == []
        if hasattr(now, "volumes"):
            volumes = [each for each in self.stage.states.values() if isinstance(each, Volume)]
            assert {each.id for each in now.volumes} == {each.id for each in volumes if each.instance_id == now.id}


def _refused(answer: Outgoing) -> bool:
    """Return whether an answer says that its one job did nothing."""
    results = answer.data.results if isinstance(answer.data, JobsAnswered) else ()
    return any(result.error is not None and not result.error.ran for result in results)


def _error(fate: Fate, job: str) -> JobError | None:
    match fate:
        case Fate.FAILS:
            return JobError(code="job-failed", message=f"{job} failed")
        case Fate.REFUSED:
            return JobError(code="job-refused", message=f"{job} was refused", ran=False)
        case Fate.ABORTED:
            return JobError(code="aborted", message=f"{job} was stopped")
        case _:
            return None


def _result(call: JobCall, error: JobError | None = None, facts: tuple[Any, ...] = ()) -> JobResult:
    return JobResult(job_id=call.job_id, name=call.name, error=error, facts=facts)


def cancel(walk: Walk) -> None:
    """Cancel the aggregate's own task, where that can be; else nothing changes."""
    try:
        walk.send(CancelTask(task_id=walk.now.tasks[-1].id))
    except Refusal:
        pass


def starts(kind: Walked) -> dict[str, Stage]:
    """Status -> a stage on which one has it: brought there by its verbs where any leads there, else set."""
    walk = Walk(kind, kind.stage()).send(kind.create).settle()
    found = {str(walk.now.current_status): walk.stage}
    first, waiting = walk.stage, [walk.stage]
    while waiting:
        stage = waiting.pop(0)
        for action in _may_begin(kind, stage.states[kind.key].current_status):
            walk = Walk(kind, stage.copy())
            try:
                walk.send(sample(action.command)).settle()
            except Refusal:
                continue
            if (status := str(walk.now.current_status)) not in found:
                found[status] = walk.stage
                waiting.append(walk.stage)
    for status in sorted({each for action in kind.rules.actions.values() for each in action.begins} - found.keys()):
        found[str(status)] = stage = first.copy()
        stage.states[kind.key] = first.states[kind.key].ended(status, stage.time, None, False)
    return found


def _may_begin(kind: Walked, status: str) -> Iterator[Action[Any]]:
    for action in kind.rules.actions.values():
        if status in action.begins:
            yield action
