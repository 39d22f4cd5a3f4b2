"""What travels between an aggregate that runs a task and whoever does its jobs.

The aggregate is the `subject` of each of these records (`instance/ID`), which is where its answers go.
"""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from domain.core.fields import PERSONAL, PLAIN
from domain.core.messages import Key, Message, Model
from domain.guest_spec import GuestSpec
from domain.tasks.job import AnyFact


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
    """False: it was refused before anything was done, so there is nothing of it to undo."""
    details: Annotated[dict[str, Any], PERSONAL] = Field(default_factory=dict)


class JobResult(Model):
    """What became of one job."""

    job_id: str
    name: Annotated[str, PLAIN]
    error: JobError | None = None
    facts: tuple[AnyFact, ...] = ()


class Reply(Model):
    """Where the answer to a job goes."""

    subject: str
    """Of the aggregate that waits for it: KIND/ID."""
    task_id: str
    dispatch_id: str
    job_id: str

    @property
    def key(self) -> Key:
        """The aggregate that waits for it."""
        return Key.parse(self.subject)


class DispatchHostJobs(Message):
    """Consecutive jobs of one plan for one host; the agent stops at the first that fails."""

    kind = "job"
    revision = 2

    dispatch_id: str
    task_id: str
    subject: str
    """Of the aggregate that the task works on: KIND/ID."""
    host_id: str
    epoch: int
    deadline: datetime
    guest: GuestSpec | None = None
    """Of an instance."""
    beside: bool = False
    """It does not wait for the subject's other dispatches, nor they for it."""
    jobs: tuple[JobCall, ...]

    @property
    def key(self) -> Key:
        """The aggregate that the task works on."""
        return Key.parse(self.subject)


class AbortJobs(Message):
    """Stop a dispatch: what waits is not begun, and a running job that can be stopped is."""

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
    """0 to 100."""
    done: int = 0
    """Bytes."""
    total: int = 0
    """Bytes; 0: not known."""
