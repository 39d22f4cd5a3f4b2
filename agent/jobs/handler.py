"""What a job's handler is, and what it is given.

Why a handler is bound to its job's class: the runner reads a job's arguments by that class, so a handler cannot be
filed under another job's name, nor be given another's arguments.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from agent.drivers.driver import Driver, Secrets
from domain.guest_spec import GuestSpec
from domain.tasks.job import Fact, Job


@dataclass(frozen=True)
class Context:
    """What a handler works with."""

    driver: Driver
    secrets: Callable[[GuestSpec], Awaitable[Secrets]]
    """Gets what the guest is to be told and the log must not know."""


Facts = tuple[Fact, ...]
J = TypeVar("J", bound=Job)
Work = Callable[[J, Any, Context], Awaitable[Facts]]
"""Given the job, the guest's specification (None where the work is no instance's) and what it works with."""


@dataclass(frozen=True)
class Handler(Generic[J]):
    """Does one kind of job. Safe to run twice."""

    job: type[J]
    work: Work[J]

    async def __call__(self, job: Job, guest: GuestSpec | None, context: Context) -> Facts:
        """Do it; the facts that came of it. Raises DriverError, and TypeError for another kind of job."""
        if not isinstance(job, self.job):
            raise TypeError(f"the handler of {self.job.__name__} was given {type(job).__name__}")
        return await self.work(job, guest, context)


def handles(job: type[J]) -> Callable[[Work[J]], Handler[J]]:
    """Makes a function the handler of a kind of job."""
    return lambda work: Handler(job, work)
