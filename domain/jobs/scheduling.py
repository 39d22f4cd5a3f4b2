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
    revision = 2

    reply: Reply
    claim_id: str = ""
    """Under which the resources are held; empty: the placing job's id."""
    instance_id: str
    """Of whatever is to be placed."""
    project: str
    arch: str = "x86_64"
    zone: str = ""
    wanted_host: str = ""
    """Id of the one host that will do; empty: whichever."""
    avoid: tuple[str, ...] = ()
    """Ids of hosts that will not do."""


class ReleaseInstance(Command):
    """Give back what is held for something that had a place."""

    kind = "scheduling"
    revision = 2

    reply: Reply
    instance_id: str
    host_id: str = ""
    claims: tuple[str, ...] = ()
    """Ids under which it may be held: the first that is, is given back."""


class Place(SchedulerJob):
    """Choose a host and hold what the aggregate needs there."""

    deadline = 30.0
    attempts = 3

    wanted_host: str = ""
    """Id of the one host that will do; empty: as the aggregate says."""
    avoid: tuple[str, ...] = ()
    """Ids of hosts that will not do."""

    def message(self, subject: Any, task: Task, reply: Reply, where: Where) -> Message:
        """The request, with the job's id as the claim's."""
        return PlaceInstance(
            reply=reply,
            instance_id=subject.id,
            project=subject.project,
            **subject.resources().amounts(),
            arch=subject.arch,
            zone=subject.zone,
            wanted_host=self.wanted_host or (subject.wanted_host if where is Where.HERE else ""),
            avoid=self.avoid,
        )


class Release(SchedulerJob):
    """Give back what is held for the aggregate."""

    deadline = 30.0
    attempts = 5

    def message(self, subject: Any, task: Task, reply: Reply, where: Where) -> Message:
        """The claim that is known, or the one that an unanswered placement may have made."""
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


class Placed(Fact):
    """The scheduler chose this host and holds the resources under this claim."""

    fact: Literal["placed"] = "placed"
    host: HostRef
    claim: str = ""
    """Empty where an earlier release made it: then it has the instance's id."""

    def apply(self, subject: Any, where: Where) -> Any:
        """The aggregate, with a host."""
        return subject.placed(where, self.host, self.claim)


class Released(Fact):
    """Nothing is held there any more."""

    fact: Literal["released"] = "released"

    def apply(self, subject: Any, where: Where) -> Any:
        """The aggregate, without that host."""
        return subject.placed(where, None, "")
