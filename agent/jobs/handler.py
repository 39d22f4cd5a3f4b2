"""The handler of a job, and what it is given.

Why a handler is bound to its job's class: the runner reads a job's arguments by that class, so a handler cannot be
filed under another job's name, nor be given another's arguments. What the class says the guest's power is afterwards
is asked of the hypervisor here, once for all handlers: none can report what it hopes for.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from agent.drivers.driver import DiskContent, Driver, DriverError, DriverFault, Progress, Secrets
from agent.outside.image_uploads import ImageUploads, NoImageUploads
from agent.outside.other_hosts import NoOtherHosts, OtherHosts
from domain.guest_spec import GuestSpec, Power
from domain.jobs.guest import PowerSeen
from domain.tasks.job import Fact, HostJob, Job
from infra.process import failpoints

AS_GOOD_AS: dict[Power, frozenset[Power]] = {
    Power.SHUTDOWN: frozenset({Power.NONE, Power.CRASHED}),
    Power.RUNNING: frozenset({Power.BLOCKED}),
    Power.PAUSED: frozenset({Power.BLOCKED}),
}
"""A job that turns a guest off has nothing to do where there is none, or where it is off because it crashed; and a full
disk can have a guest stand still at any moment."""


def untold(done: int, total: int) -> None:
    """Progress that interests nobody."""


@dataclass(frozen=True, kw_only=True)
class Outside:
    """The services beyond its host and the log that a handler can reach."""

    secrets: Callable[[GuestSpec], Awaitable[Secrets]]
    """Gets what the guest is to be told and the log must not know."""
    other_hosts: OtherHosts = field(default_factory=NoOtherHosts)
    """Agents of other hosts."""
    uploads: ImageUploads = field(default_factory=NoImageUploads)
    """The image store, to put something into."""


@dataclass(frozen=True, kw_only=True)
class Context(Outside):
    """The driver, and the functions, that a handler works with."""

    driver: Driver
    task_id: str = ""
    """Of the task that the job is a step of."""
    progress: Progress = untold
    """Says how many bytes of how many (0: not known) are done. To be called, in the event loop's thread, as often as
    something more is done: the job's time-out counts from the last call."""

    async def tell(self, guest: GuestSpec) -> None:
        """Write what the guest is told about itself, by the record as it is now.

        Its secrets are fetched once, for a guest that was told nothing here yet; later they are those that it was told,
        since nobody else keeps them.
        Raises DriverError "secret-unavailable", and what the driver raises.
        """
        secrets = await self.driver.told(guest.id)
        if secrets is None:
            secrets = await self._fetched(guest)
        await self.driver.write_config_drive(guest, secrets)

    async def tell_anew(self, guest: GuestSpec) -> None:
        """Write what the guest is told about itself, unless it was told nothing here: it has left, or not come yet."""
        if await self.driver.told(guest.id) is not None:
            await self.tell(guest)

    async def _fetched(self, guest: GuestSpec) -> Secrets:
        try:
            return await self.secrets(guest)
        except DriverError as problem:
            if problem.code != DriverFault.SECRET_GONE:
                raise
            # An earlier release moved it here without what it was told.
            return Secrets()


async def telling(content: DiskContent, progress: Progress) -> AsyncGenerator[bytes, None]:
    """The content's chunks, while `progress` hears how many bytes of how many were taken."""
    done = 0
    async for chunk in content.chunks:
        yield chunk
        done += len(chunk)
        failpoints.point("disk-half-fetched")
        progress(done, content.size)


Facts = tuple[Fact, ...]
J = TypeVar("J", bound=HostJob)
GuestWork = Callable[[J, GuestSpec, Context], Awaitable[Facts]]
"""Does a job for a guest."""
HostWork = Callable[[J, Context], Awaitable[Facts]]
"""Does a job that is for no guest."""


@dataclass(frozen=True)
class Handler(Generic[J]):
    """Does one kind of job. Safe to run twice."""

    job: type[J]
    work: Callable[[J, GuestSpec | None, Context], Awaitable[Facts]]

    async def __call__(self, job: Job, guest: GuestSpec | None, context: Context) -> Facts:
        """Do it; the facts that came of it, and of a job that says which power it leaves the power that was found.

        Raises DriverError ("power-differs" where the power is another), and TypeError for another kind of job or a
        missing guest.
        """
        if not isinstance(job, self.job):
            raise TypeError(f"the handler of {self.job.__name__} was given {type(job).__name__}")
        facts = await self.work(job, guest, context)
        if self.job.leaves is None or guest is None:
            return facts
        power = await context.driver.power(guest.id)
        if power is not self.job.leaves and power not in AS_GOOD_AS.get(self.job.leaves, ()):
            raise DriverError(
                "power-differs",
                f"{self.job.__name__} leaves a guest {self.job.leaves}, but the hypervisor says it is {power}.",
            )
        return (*(fact for fact in facts if not isinstance(fact, PowerSeen)), PowerSeen(power=power))


HANDLERS: dict[type[Job], Handler[Any]] = {}
"""Every handler by its job's class. Importing `agent.jobs` fills it."""


def handles(job: type[J]) -> Callable[[GuestWork[J]], Handler[J]]:
    """Makes a function the handler of a kind of job for guests. Raises TypeError where the job has one already."""

    def made(work: GuestWork[J]) -> Handler[J]:
        async def with_guest(given: J, guest: GuestSpec | None, context: Context) -> Facts:
            if guest is None:
                raise TypeError(f"{job.__name__} is for a guest, and was given none")
            return await work(given, guest, context)

        return _registered(Handler(job, with_guest))

    return made


def handles_without_guest(job: type[J]) -> Callable[[HostWork[J]], Handler[J]]:
    """Makes a function the handler of a kind of job that needs no guest: a volume's, an image's.

    Raises TypeError where the job has a handler already, or is to leave a guest in some power.
    """
    if job.leaves is not None:
        raise TypeError(f"{job.__name__} leaves a guest {job.leaves}, so it needs one")

    def made(work: HostWork[J]) -> Handler[J]:
        async def without_guest(given: J, guest: GuestSpec | None, context: Context) -> Facts:
            return await work(given, context)

        return _registered(Handler(job, without_guest))

    return made


def _registered(handler: Handler[J]) -> Handler[J]:
    if HANDLERS.setdefault(handler.job, handler) is not handler:
        raise TypeError(f"{handler.job.__name__} has two handlers")
    return handler
