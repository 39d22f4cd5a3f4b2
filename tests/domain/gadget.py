"""A kind of aggregate that only tests know: it uses all that tasks can do, a move between two hosts among it.

Nothing of it is registered for good, since what is registered is what the log may hold: `registered()` has its jobs
known for as long as a test takes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, ClassVar, Literal

from domain.core.messages import Command, Decision, Envelope, Event, Key
from domain.core.resources import Resources
from domain.guest_spec import HostRef
from domain.instance.state import OtherHost
from domain.jobs.scheduling import Place, Release
from domain.tasks.action import Action, TaskRules
from domain.tasks.decide import accept, act, concerns_tasks, decision_of
from domain.tasks.draft import Draft
from domain.tasks.events import TaskEvent
from domain.tasks.flow import Flow, Step
from domain.tasks.job import FACTS, JOBS, Fact, HostJob, Job, Where
from domain.tasks.placed import PlacedSubject
from domain.tasks.subject import evolve_task
from domain.tasks.task import Fault
from tests.harness.answers import YIELDS
from tests.harness.walk import Walked

HERE, THERE = Where.HERE, Where.THERE


class Gadget(PlacedSubject):
    """A gadget."""

    status: str = "new"
    incoming: OtherHost | None = None
    fault: Fault | None = None

    @property
    def current_status(self) -> str:
        return self.status

    def resources(self, where: Where = Where.HERE) -> Resources:
        return Resources(vcpus=1)

    def held(self, where: Where) -> tuple[HostRef | None, str]:
        if where is HERE:
            return self.host, self.claim
        return (self.incoming.host, self.incoming.claim) if self.incoming else (None, "")

    def placed(self, where: Where, host: HostRef | None, claim: str) -> "Gadget":
        if where is HERE:
            return self.but(host=host, claim=claim)
        return self.but(incoming=OtherHost(host=host, claim=claim) if host else None)

    def ended(self, status: str, at: datetime, fault: Fault | None, cancelled: bool) -> "Gadget":
        return self.but(status=status, fault=fault)


class Forge(HostJob):
    abstract: ClassVar[bool] = True
    attempts = 3


class Melt(HostJob):
    abstract: ClassVar[bool] = True


class Ship(HostJob):
    abstract: ClassVar[bool] = True
    abortable = True
    deadline = 100.0


class Unship(HostJob):
    abstract: ClassVar[bool] = True


class Switch(HostJob):
    """The gadget is at the other host from here on."""

    abstract: ClassVar[bool] = True


class Greet(HostJob):
    abstract: ClassVar[bool] = True


class Tidy(HostJob):
    abstract: ClassVar[bool] = True


class Switched(Fact):
    """The two hosts of a gadget have changed places."""

    fact: Literal["gadget-switched"] = "gadget-switched"

    def apply(self, subject: Any, where: Where) -> Any:
        if subject.incoming is None:
            return subject
        new, old = subject.incoming, OtherHost(host=subject.host, claim=subject.claim)
        return subject.but(host=new.host, claim=new.claim, incoming=old)


del FACTS["gadget-switched"]


class GadgetCommand(Command):
    abstract: ClassVar[bool] = True


class MakeGadget(GadgetCommand):
    abstract: ClassVar[bool] = True


class MoveGadget(GadgetCommand):
    abstract: ClassVar[bool] = True


class PolishGadget(GadgetCommand):
    abstract: ClassVar[bool] = True


class RemakeGadget(GadgetCommand):
    abstract: ClassVar[bool] = True


class RetireGadget(GadgetCommand):
    abstract: ClassVar[bool] = True


class ScrapGadget(GadgetCommand):
    abstract: ClassVar[bool] = True


class GadgetMade(Event):
    abstract: ClassVar[bool] = True
    project: str


class GadgetHostRenewed(Event):
    abstract: ClassVar[bool] = True
    host_id: str
    epoch: int


def elsewhere(gadget: Gadget, command: Any) -> Iterator[dict[str, Any]]:
    yield {"avoid": (gadget.host.id,) if gadget.host else ()}


def if_hosted(gadget: Gadget, command: Any) -> Iterator[dict[str, Any]]:
    if gadget.host is not None:
        yield {}


def if_two_hosts(gadget: Gadget, command: Any) -> Iterator[dict[str, Any]]:
    if gadget.incoming is not None:
        yield {}


ROWS: list[Action[Gadget]] = [
    Action(
        name="make",
        command=MakeGadget,
        begins=frozenset(),
        ends="ready",
        fails="error",
        needs_host=False,
        creates=True,
        flow=Flow("make", 1, (Step(Place, undo=Release), Step(Forge, undo=Melt))),
    ),
    Action(
        name="move",
        command=MoveGadget,
        begins=frozenset({"ready"}),
        ends="moved",
        during="moving",
        alone=True,
        flow=Flow(
            "move",
            1,
            (
                Step(Place, undo=Release, on=THERE, each=elsewhere),
                Step(Forge, undo=Melt, on=THERE),
                Step(Ship, undo=Unship),
                Step(Switch, no_undo="it is there now", pivot=True),
                Step(Greet, no_undo="it is there now"),
                Step(Tidy, no_undo="it is there now", on=THERE),
                Step(Release, no_undo="it is there now", on=THERE),
            ),
        ),
    ),
    Action(
        name="polish",
        command=PolishGadget,
        begins=frozenset({"ready", "moved", "error"}),
        already=frozenset({"bright"}),
        ends="bright",
        flow=Flow("polish", 1, (Step(Forge, undo=Melt),)),
    ),
    Action(
        name="remake",
        command=RemakeGadget,
        begins=frozenset({"ready", "bright"}),
        ends="ready",
        alone=True,
        flow=Flow("remake", 1, (Step(Forge, undo=Melt), Step(Switch, no_undo="made", pivot=True))),
    ),
    Action(
        name="retire",
        command=RetireGadget,
        begins=frozenset({"ready"}),
        already=frozenset({"retired"}),
        ends="retired",
        passes=True,
        flow=Flow("retire", 1, (Step(Forge, undo=Melt),)),
    ),
    Action(
        name="scrap",
        command=ScrapGadget,
        begins=frozenset({"new", "ready", "moved", "bright", "retired", "error"}),
        ends="gone",
        fails="error",
        needs_host=False,
        passes=True,
        cancellable=False,
        flow=Flow(
            "scrap",
            1,
            (
                Step(Melt, no_undo="what is gone is gone", on=THERE, each=if_two_hosts),
                Step(Release, no_undo="what is gone is gone", on=THERE, each=if_two_hosts),
                Step(Melt, no_undo="what is gone is gone", each=if_hosted),
                Step(Release, no_undo="the last step"),
            ),
        ),
    ),
]
BESIDE = tuple(
    type(f"Copy{number}Gadget", (GadgetCommand,), {"abstract": True, "__annotations__": {"abstract": ClassVar[bool]}})
    for number in range(1, 6)
)
ROWS += [
    Action(
        name=f"copy-{number}",
        command=command,
        begins=frozenset({"ready", "bright"}),
        ends=None,
        beside=True,
        flow=Flow(f"copy-{number}", 1, (Step(Ship, undo=Unship), Step(Tidy, no_undo="tidy is tidy"))),
    )
    for number, command in enumerate(BESIDE, 1)
]


def evolve(now: Gadget | None, event: Event, subject_id: str) -> Gadget:
    match event:
        case GadgetMade():
            return Gadget(id=subject_id, project=event.project)
        case GadgetHostRenewed() if now:
            now = now.renewed(event.host_id, event.epoch)
            if now.incoming and now.incoming.host.id == event.host_id:
                now = now.but(incoming=now.incoming.but(host=now.incoming.host.but(epoch=event.epoch)))
            return now
        case TaskEvent():
            gadget: Gadget = evolve_task(now, event)
            return gadget
        case _:
            raise TypeError(f"{event} is no event of a gadget")


RULES = TaskRules(
    kind="gadget",
    actions={action.name: action for action in ROWS},
    evolve=evolve,
    error="error",
    gone=frozenset({"gone"}),
    renewed=lambda draft, host_id, epoch: draft.emit(GadgetHostRenewed(host_id=host_id, epoch=epoch)),
)


def decide(now: Gadget | None, envelope: Envelope) -> Decision:
    draft = Draft(envelope.subject.id, now, evolve)
    match envelope.data:
        case MakeGadget() as command:
            draft.emit(GadgetMade(project=envelope.project))
            accept(draft, RULES, RULES.actions["make"], command, envelope)
        case GadgetCommand() as command:
            act(draft, RULES, command, envelope)
        case _:
            assert concerns_tasks(draft, RULES, envelope)
    return decision_of(draft, envelope, RULES)


GADGET = Walked(RULES, decide, MakeGadget(), Key("gadget", "00000000-0000-0000-0000-000000000001"), local=True)
OWN: tuple[type[Job], ...] = (Forge, Melt, Ship, Unship, Switch, Greet, Tidy)


@contextmanager
def registered() -> Iterator[None]:
    """The jobs of gadgets are known."""
    JOBS.update({job.__name__: job for job in OWN})
    YIELDS[Switch] = lambda subject, job, job_id: (Switched(),)
    try:
        yield
    finally:
        del YIELDS[Switch]
        for job in OWN:
            del JOBS[job.__name__]
