"""Messages between an aggregate that runs a task and whoever does its jobs.

The aggregate is the `subject` of each of these records (`instance/ID`), which is where its answers go.
"""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from domain.core.fields import PERSONAL, PLAIN
from domain.core.messages import Key, Message, Model, Outgoing, Topic
from domain.guest_spec import GuestSpec
from domain.tasks.job import AnyFact, Fact


class JobCall(Model):
    """A job as it is sent: its id stays the same however often it is sent."""

    job_id: str
    name: Annotated[str, PLAIN]
    args: Annotated[dict[str, Any], PERSONAL] = Field(default_factory=dict)


class JobError(Model):
    """Why a job failed."""

    code: str
    message: Annotated[str, PERSONAL]
    ran: bool = True
    """Whether the job may have had effects; False: it was refused before, so there is nothing to undo."""
    details: Annotated[dict[str, Any], PERSONAL] = Field(default_factory=dict)


class JobResult(Model):
    """Result of one job: an error, or facts."""

    job_id: str
    name: Annotated[str, PLAIN]
    error: JobError | None = None
    facts: tuple[AnyFact, ...] = ()


class Reply(Model):
    """Return address for the answer to a job."""

    subject: str
    """Aggregate that waits for the answer: KIND/ID."""
    task_id: str
    dispatch_id: str
    job_id: str

    @property
    def key(self) -> Key:
        """Key of the aggregate that waits for the answer."""
        return Key.parse(self.subject)

    def done(self, name: str, *facts: Fact) -> Outgoing:
        """Return the answer that the job of this name is done, with what was found out."""
        return self.answer(JobResult(job_id=self.job_id, name=name, facts=facts))

    def answer(self, result: JobResult) -> Outgoing:
        """Return the answer with the result of the job."""
        message = JobsAnswered(task_id=self.task_id, dispatch_id=self.dispatch_id, results=(result,))
        return Outgoing(Topic.RESULTS, self.key, message)


class DispatchHostJobs(Message):
    """Consecutive jobs of one plan for one host; the agent stops at the first that fails."""

    kind = "job"
    revision = 2

    dispatch_id: str
    task_id: str
    subject: str
    """Aggregate that the task works on: KIND/ID."""
    host_id: str
    epoch: int
    deadline: datetime
    guest: GuestSpec | None = None
    """Specification of the guest, where the aggregate is an instance."""
    beside: bool = False
    """Whether the dispatch runs in parallel to the subject's other dispatches."""
    jobs: tuple[JobCall, ...]

    @property
    def key(self) -> Key:
        """Key of the aggregate that the task works on."""
        return Key.parse(self.subject)


class AbortJobs(Message):
    """Stop a dispatch: waiting jobs are dropped, and a running job that can be stopped is."""

    kind = "job"

    dispatch_id: str
    task_id: str
    host_id: str


class JobsAnswered(Message):
    """An agent's, the scheduler's or an aggregate's answer to a dispatch: results in the order of its jobs."""

    kind = "job"

    task_id: str
    dispatch_id: str
    host_id: str = ""
    epoch: int = 0
    results: tuple[JobResult, ...]


class JobStarted(Message):
    """A host has begun a job that takes a while."""

    kind = "job"

    task_id: str
    dispatch_id: str
    job_id: str
    name: Annotated[str, PLAIN]


class JobProgressed(Message):
    """How far a host is with a long job. Sent when 5 % more are done, or 60 s have passed."""

    kind = "job"

    task_id: str
    dispatch_id: str
    job_id: str
    name: Annotated[str, PLAIN]
    percent: float
    """Progress from 0 to 100."""
    done: int = 0
    """Work done, in bytes."""
    total: int = 0
    """All of the work, in bytes; 0: not known."""
