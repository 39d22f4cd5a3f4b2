"""The jobs of the scheduler: choose a host and hold what is needed there, and give it back."""

from typing import Any, Literal

from domain.core.messages import Command, Message
from domain.core.resources import Resources
from domain.guest_spec import HostRef
from domain.tasks.job import Fact, SchedulerJob, Where
from domain.tasks.messages import Reply
from domain.tasks.task import Direction, Task, job_id


class PlaceInstance(Command, Resources):
    """Choose a host for something and hold its resources there, under a claim that has the id of the job."""

    kind = "scheduling"
    revision = 3

    reply: Reply
    claim_id: str = ""
    """Id of the claim to be made; empty: the placing job's id."""
    instance_id: str
    """Id of the instance, or of whatever else is to be placed."""
    project: str
    arch: str = "x86_64"
    zone: str = ""
    wanted_host: str = ""
    """Id of the one host that will do; empty: whichever."""
    avoid: tuple[str, ...] = ()
    """Ids of hosts that will not do."""
    among: tuple[str, ...] = ()
    """Ids of the hosts of which one will do; none: any."""


class ReleaseInstance(Command):
    """Release the resources that are reserved for an instance or a volume."""

    kind = "scheduling"
    revision = 2

    reply: Reply
    instance_id: str
    host_id: str = ""
    claims: tuple[str, ...] = ()
    """Ids of claims, of which the first that exists is released."""


class ResizeHostClaim(Command, Resources):
    """Have a claim reserve these amounts on its host: refused where the host has no room for what is more."""

    kind = "scheduling"

    reply: Reply
    instance_id: str
    """Id of the instance, or of whatever else holds the claim."""
    claims: tuple[str, ...]
    """Ids of claims, of which the first that exists is resized."""


class Place(SchedulerJob):
    """Choose a host and reserve the aggregate's resources there."""

    deadline = 30.0
    attempts = 3

    wanted_host: str = ""
    """Id of the one host that will do; empty: as the aggregate says."""
    avoid: tuple[str, ...] = ()
    """Ids of hosts that will not do."""

    def message(self, subject: Any, task: Task, reply: Reply, where: Where) -> Message:
        """Return the request, with the job's id as the claim's."""
        return PlaceInstance(
            reply=reply,
            instance_id=subject.id,
            project=subject.project,
            **subject.resources(where).amounts(),
            arch=subject.arch,
            zone=subject.zone,
            wanted_host=self.wanted_host or (subject.wanted_host if where is Where.HERE else ""),
            avoid=self.avoid,
            among=subject.among,
        )


class Release(SchedulerJob):
    """Release the aggregate's claim on its host."""

    deadline = 30.0
    attempts = 5

    def message(self, subject: Any, task: Task, reply: Reply, where: Where) -> Message:
        """Return the command for the known claim, or for the one that an unanswered placement may have made."""
        host, claim = subject.held(where)
        claims = [claim] if claim else []
        if not claim and host is None and task.dispatch is not None and task.direction is Direction.UNDO:
            claims.append(job_id(task, Direction.FORWARD, task.dispatch.steps[0]))
        if not claim and where is Where.HERE:
            # Claims that an earlier release made have the instance's id.
            claims.append(subject.id)
        return ReleaseInstance(
            reply=reply, instance_id=subject.id, host_id=host.id if host else "", claims=tuple(claims)
        )


class _ClaimJob(SchedulerJob):
    """A job that changes how much the aggregate's claim reserves on its own host."""

    abstract = True
    deadline = 30.0
    attempts = 5

    before: Resources
    after: Resources

    def _resize(self, subject: Any, reply: Reply, amounts: Resources) -> Message:
        claim = subject.claim or subject.id
        return ResizeHostClaim(reply=reply, instance_id=subject.id, claims=(claim,), **amounts.amounts())


class ResizeClaim(_ClaimJob):
    """Have the aggregate's claim reserve other amounts on its host."""

    def message(self, subject: Any, task: Task, reply: Reply, where: Where) -> Message:
        """Return the command for the amounts after the step."""
        return self._resize(subject, reply, self.after)


class RestoreClaim(_ClaimJob):
    """Have the aggregate's claim reserve what it did before it was resized."""

    def message(self, subject: Any, task: Task, reply: Reply, where: Where) -> Message:
        """Return the command for the amounts before the step."""
        return self._resize(subject, reply, self.before)


class Placed(Fact):
    """The scheduler chose this host and reserved the resources under this claim."""

    fact: Literal["placed"] = "placed"
    host: HostRef
    claim: str = ""
    """Id of the claim; empty where an earlier release made it: then it has the instance's id."""

    def apply(self, subject: Any, where: Where) -> Any:
        """Return the aggregate with this host."""
        return subject.placed(where, self.host, self.claim)


class Released(Fact):
    """The aggregate's resources on that host are released."""

    fact: Literal["released"] = "released"

    def apply(self, subject: Any, where: Where) -> Any:
        """Return the aggregate without that host."""
        return subject.placed(where, None, "")
