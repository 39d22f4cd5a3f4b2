"""For whom a thing is done stands with everything that follows from it, also where a deadline led to it or where one
task ends and the next begins: filters by task, project and actor, exports and webhooks stand on it."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from domain.core.messages import Envelope, Event, Key, Topic, from_record, to_record
from domain.guest_spec import Nic, Power
from domain.host.reports import GuestObserved
from domain.instance.actions.lifecycle.delete import DeleteInstance, HardDeleteInstance
from domain.instance.actions.power.stop import StopInstance
from domain.network.messages import CreateNetwork, PortCreated
from domain.tasks.events import (
    StepsDispatched,
    TaskAccepted,
    TaskCancelRequested,
    TaskEvent,
    TaskFailed,
)
from domain.tasks.messages import JobError
from tests.domain.instances import boot_command
from tests.harness.world import World

WEB, LAN = Key("instance", str(uuid.UUID(int=1))), Key("network", str(uuid.UUID(int=2)))
ANN = ("request-of-ann", "ann", "acme")
BOB = ("request-of-bob", "bob", "acme")
LONG = 700.0
"""Seconds after which whatever was on its way is given up."""


@dataclass
class Site:
    """A host and a network of nobody's, and what is on the log since."""

    world: World
    before: set[str] = field(default_factory=set)

    async def boot(self) -> None:
        """Ann's, one of several of a request."""
        request, actor, project = ANN
        command = boot_command(nics=(Nic(network_id=LAN.id, network_name="lan"),))
        await self.world.send(WEB, command, actor=actor, project=project, correlation=request)

    async def ended(self) -> None:
        for _ in range(20):
            await self.world.pass_time(LONG)

    def since(self) -> list[Envelope]:
        """Events, and messages to agents, scheduler and networks."""
        topics = (Topic.EVENTS, Topic.JOBS, Topic.SCHEDULING, Topic.COMMANDS)
        every = [from_record(record) for topic in topics for record in self.world.log.all(topic)]
        return [each for each in every if each.id not in self.before and each.source != "gostack/timers"]

    def events(self) -> list[Envelope]:
        return [each for each in self.since() if isinstance(each.data, Event)]

    def forget(self) -> None:
        self.before |= {each.id for each in self.since()}


def behalf(envelope: Envelope) -> tuple[str, str, str]:
    return envelope.correlation, envelope.actor, envelope.project


@asynccontextmanager
async def made() -> AsyncIterator[Site]:
    world = World()
    await world.start()
    await world.host("h1")
    await world.send(LAN, CreateNetwork(name="lan", cidr="10.0.0.0/24", segment=1))
    site = Site(world)
    site.forget()
    yield site


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with made() as found:
        yield found


def kinds(events: list[Envelope]) -> set[str]:
    return {each.subject.kind for each in events}


async def test_what_a_deadline_leads_to_is_done_for_whom_the_task_is(site: Site) -> None:
    site.world.agents.silent.add("StartGuest")
    await site.boot()
    await site.ended()
    assert any(isinstance(each.data, TaskFailed) for each in site.events())
    assert kinds(site.events()) == {"instance", "host", "network"}
    assert {behalf(each) for each in site.since()} == {ANN}


async def test_a_claim_and_an_address_that_a_second_attempt_gives_are_the_projects(site: Site) -> None:
    site.world.stopped.add("scheduler")
    await site.boot()
    site.world.stopped.clear()
    await site.world.pass_time(31)
    (port,) = [each.data for each in site.events() if isinstance(each.data, PortCreated)]
    assert port.project == "acme"
    assert kinds(site.events()) == {"instance", "host", "network"}
    assert {behalf(each) for each in site.since()} == {ANN}


@pytest.mark.parametrize("fails", [False, True])
async def test_a_task_that_waited_is_done_for_who_asked_for_it(site: Site, fails: bool) -> None:
    site.world.agents.silent.add("StartGuest")
    await site.boot()
    (boot,) = [each.data.task for each in site.events() if isinstance(each.data, TaskAccepted)]
    if fails:
        site.world.agents.failures["DeleteDisk"] = JobError(code="job-failed", message="busy")
    request, actor, project = BOB
    await site.world.send(WEB, HardDeleteInstance(), actor=actor, project=project, correlation=request)
    await site.world.answer_late()
    own = [each for each in site.events() if isinstance(each.data, TaskEvent)]
    assert {type(each.data) for each in own} > {TaskCancelRequested, StepsDispatched}
    for each in own:
        assert isinstance(each.data, TaskEvent)
        ann = each.data.task_id == boot.id and not isinstance(each.data, TaskCancelRequested)
        assert behalf(each) == (ANN if ann else BOB), each.data
    jobs = [each for each in site.since() if each.subject == WEB and not isinstance(each.data, Event)]
    assert {behalf(each) for each in jobs} == {ANN, BOB}


async def test_what_is_purged_is_purged_for_its_project(site: Site) -> None:
    await site.boot()
    await site.world.send(WEB, DeleteInstance(keep_for=60.0), actor="ann", project="acme")
    site.forget()
    await site.world.pass_time(61)
    (task,) = [each.data.task for each in site.events() if isinstance(each.data, TaskAccepted)]
    assert (task.actor, task.project) == ("system", "acme")
    assert kinds(site.events()) == {"instance", "host", "network"}
    assert {behalf(each) for each in site.since()} == {(task.id, "system", "acme")}


async def test_a_guest_that_turned_itself_off_is_seen_by_its_project(site: Site) -> None:
    await site.boot()
    site.forget()
    host = site.world.agents.taken[-1]
    seen = Envelope(
        id=str(uuid.UUID(int=9)),
        data=GuestObserved(host_id=host.host_id, epoch=host.epoch, power=Power.SHUTDOWN),
        subject=WEB,
        time=site.world.now,
        source="gostack/agent/h1",
        correlation=WEB.id,
    )
    await site.world.log.publish([to_record(seen, Topic.RESULTS)])
    await site.world.settle()
    (event,) = site.events()
    assert behalf(event) == (WEB.id, "system", "acme")


async def test_a_users_command_is_the_users_whoever_booted(site: Site) -> None:
    await site.boot()
    site.forget()
    request, actor, project = BOB
    await site.world.send(WEB, StopInstance(), actor=actor, project=project, correlation=request)
    assert {behalf(each) for each in site.since()} == {BOB}
