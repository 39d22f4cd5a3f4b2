"""The processes of a small GoStack on simulated parts: an API, two engines, two schedulers for two cells, timers,
beats, a projector, agents."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from random import Random
from typing import Any, cast

from agent.drivers.driver import Driver, Secrets
from agent.drivers.simulated.driver import SimulatedDriver
from agent.jobs import Outside
from agent.outside.image_uploads import ImageUploadsInMemory
from agent.outside.other_hosts import OtherHostsInMemory
from agent.runner.journal import Journal
from agent.service import AgentOptions, AgentService
from api.http.refusals import Overloaded, Unavailable
from api.http.request_context import RequestContext
from api.services import Services
from api.writes.admission import Admission
from api.writes.command_bus import CommandOutcome, CommandRequest, carry_out
from api.writes.verdicts import CommandVerdict, Verdicts
from cli.agents import HostedGuest
from cli.check import CheckedParts, Report, look
from commands.engine import EngineRules
from commands.processor import Overtaken, Processor
from commands.reconcilers.liveness import LivenessMonitor
from commands.rules import Rules, restored
from commands.scheduler import SchedulerRules
from commands.timers import Timers
from domain import catalog
from domain.core.messages import Command, Key, Topic, named_id
from domain.guest_spec import GuestSpec
from domain.host.messages import Inventory
from domain.host.state import Host
from domain.scheduling.table import Ratios
from infra.db.write_store import WriteStoreUnavailable
from infra.log.log import LogUnavailable, TopicPartition
from infra.process.settings import Settings
from projections.projector import Projector
from projections.store.port import StoreUnavailable
from tests.simulation.parts import SimulatedLog, SimulatedStore, SimulatedWriteStore, Weather
from tests.simulation.processes import Process

CELLS = ("default", "second")
"""Of the hosts, by turns; a zone of the same name each."""
ROOMS = tuple(Inventory(vcpus=64, memory=guests << 30, disk=1 << 40) for guests in (2, 2, 1, 1))
"""Of each host: so many of the guests fit. Two hosts a cell, so that a guest can move."""
GRACE = 15.0
INBOX_KEEP = 900.0
"""Longer than any script takes, so that whatever comes again in one is known."""
RETRY = 1.0
CLIENT_PATIENCE = 60.0
SETTINGS = Settings()
GIVES_UP = 3600.0
"""Seconds after which a client has had no answer because there is none."""
FAULTS = (LogUnavailable, WriteStoreUnavailable, StoreUnavailable, Overtaken)
"""What the weather and the sharing out of partitions make a process end of. Of anything else, none may."""
ASKED = {"log", "store", "settings", "clock", "verdicts", "admission", "deciding", "known"}
NOT_ASKED = [each.name for each in fields(Services) if each.name not in ASKED]
"""What an API has besides, and needs for no command here."""


@dataclass
class Group:
    """Who of a group has which partitions; its members look now and then."""

    partitions: list[TopicPartition]
    share: dict[str, list[TopicPartition]] = field(default_factory=dict)
    generation: int = 0

    def split(self, random: Random, members: Sequence[str]) -> None:
        """Share them out anew."""
        self.generation += 1
        self.share = {name: [] for name in members}
        for number in sorted({each.partition for each in self.partitions}):
            owner = random.choice(members)
            self.share[owner] += [each for each in self.partitions if each.partition == number]


class Request:
    """What a client asks, and waits for."""

    def __init__(self, asked: RequestContext, wish: CommandRequest) -> None:
        self._asked = asked
        self._wish = wish
        self.outcome: asyncio.Future[CommandOutcome] = asyncio.get_running_loop().create_future()

    async def answer(self, services: Services) -> None:
        """Do it."""

        async def wish() -> CommandRequest:
            return self._wish

        outcome = await carry_out(services, self._asked, wish)
        if not self.outcome.done():
            self.outcome.set_result(outcome)

    def failed(self, answering: asyncio.Task[None]) -> None:
        """Tell the client what the API did not survive, unless the API died: then nobody tells."""
        if not answering.cancelled() and (error := answering.exception()) and not self.outcome.done():
            self.outcome.set_exception(error)


class Cluster:
    """All of it."""

    def __init__(self, random: Random) -> None:
        assert catalog.MESSAGES
        self.random = random
        self.weather = Weather(random)
        self.log = SimulatedLog(self.weather)
        self.store = SimulatedStore(self.weather)
        self.write_stores = {
            "engine": SimulatedWriteStore(self.weather),
            "scheduler": SimulatedWriteStore(self.weather),
        }
        self.drivers = {
            f"h{number}": SimulatedDriver(room, latency=0.02, seed=str(random.random()))
            for number, room in enumerate(ROOMS, 1)
        }
        self._uploads = ImageUploadsInMemory()
        self._journals = {name: Journal(":memory:") for name in self.drivers}
        self._groups: dict[str, Group] = {}
        self._requests: asyncio.Queue[Request] = asyncio.Queue()
        self.answered: dict[str, CommandVerdict] = {}
        """What clients were told, by command id."""
        self.processes = {
            name: Process(name, random, run)
            for name, run in (
                ("engine-1", self._engine),
                ("engine-2", self._engine),
                ("scheduler-1", self._scheduler),
                ("scheduler-2", self._scheduler),
                ("timers", self._timers),
                ("beats", self._beats),
                ("projector", self._projector),
                ("api", self._api),
                *((name, self._agent) for name in self.drivers),
            )
        }

    async def start(self) -> None:
        """Start every process, and wait for the hosts."""
        bounds = await self.log.bounds([Topic.COMMANDS, Topic.RESULTS])
        self._groups["engine"] = Group(list(bounds))
        self._groups["scheduler"] = Group(list(await self.log.bounds([Topic.SCHEDULING])))
        self.rebalance()
        for process in self.processes.values():
            process.start()
        while await self.store.count("hosts") < len(self.drivers):
            await self.log.wait(1)

    def rebalance(self) -> None:
        """The engines' and the schedulers' partitions are shared out anew."""
        for name, group in self._groups.items():
            group.split(self.random, [f"{name}-1", f"{name}-2"])

    async def _engine(self, process: Process) -> None:
        await self._work(process, "engine", EngineRules(), (Topic.COMMANDS, Topic.RESULTS))

    async def _scheduler(self, process: Process) -> None:
        partitions = await self.log.partitions(Topic.JOBS)
        await self._work(process, "scheduler", SchedulerRules(Ratios(), partitions), (Topic.SCHEDULING,))

    async def _work(self, process: Process, name: str, rules: Rules, topics: tuple[Topic, ...]) -> None:
        """As the worker does: what it cannot go on with ends the process."""
        group = self._groups[name]
        processor = Processor(rules, self.write_stores[name], self.log, topics, process.clock)
        while True:
            generation = group.generation
            reader = await self.log.reader(await processor.assigned(group.share[process.name]))
            while group.generation == generation:
                if records := await reader.fetch(500, 0.5):
                    await processor.step(records)

    async def _timers(self, process: Process) -> None:
        running = [
            Timers(write_store, self.log, process.clock, INBOX_KEEP).run() for write_store in self.write_stores.values()
        ]
        await asyncio.gather(*running)

    async def _beats(self, process: Process) -> None:
        write_store = self.write_stores["scheduler"]

        async def hosts() -> list[Host]:
            return [restored(EngineRules(), key, row).state for key, row in (await write_store.all("host")).items()]

        await LivenessMonitor(self.log, GRACE, process.clock, asyncio.get_running_loop().time).run(hosts)

    async def _projector(self, process: Process) -> None:
        await Projector(self.log, self.store).run()

    async def _agent(self, process: Process) -> None:
        async def secrets(guest: GuestSpec) -> Secrets:
            return Secrets()

        name = process.name
        cell = CELLS[list(self.drivers).index(name) % len(CELLS)]
        options = AgentOptions(cell=cell, zone=cell, endpoint=name, parallel=8, heartbeat=3.0, reconcile=5.0)
        drivers: dict[str, Driver] = {name: self.drivers[name]}
        others = {named_id("host", other): driver for other, driver in self.drivers.items()}
        outside = Outside(secrets=secrets, other_hosts=OtherHostsInMemory(others), uploads=self._uploads)
        service = AgentService(self.log, self._journals[name], drivers, outside, process.clock, options)
        await service.start()
        await service.run()

    async def _api(self, process: Process) -> None:
        """From the request on; what reads and answers HTTP before that has threads, which have no place here."""
        admission = Admission(SETTINGS, self.log, self.store, self.write_stores)
        verdicts = Verdicts(self.log, lambda _: None, admission)
        await verdicts.open()
        services = Services(
            log=self.log,
            store=self.store,
            settings=SETTINGS,
            clock=process.clock,
            verdicts=verdicts,
            admission=admission,
            deciding=self.write_stores,
            **dict.fromkeys(NOT_ASKED, cast(Any, None)),
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(verdicts.run())
            while True:
                request = await self._requests.get()
                await admission.look()
                answering = asyncio.create_task(request.answer(services))
                answering.add_done_callback(request.failed)

    async def send(self, ident: str, subject: Key, data: Command) -> CommandVerdict:
        """As a patient client: the same request under the same key until it is answered; the verdict."""
        asked = RequestContext(
            actor="ann",
            project="p",
            reason="",
            traceparent="",
            command_id=ident,
            keyed=True,
            fingerprint=ident,
            if_match=None,
        )
        loop = asyncio.get_running_loop()
        until = loop.time() + GIVES_UP
        while loop.time() < until:
            request = Request(asked, CommandRequest(subject, data))
            self._requests.put_nowait(request)
            with suppress(
                Unavailable, Overloaded, WriteStoreUnavailable, LogUnavailable, StoreUnavailable, TimeoutError
            ):
                async with asyncio.timeout(CLIENT_PATIENCE):
                    outcome = await request.outcome
                if outcome.verdict is not None:
                    self.answered[ident] = outcome.verdict
                    return outcome.verdict
            await asyncio.sleep(RETRY)
        raise RuntimeError(f"command {ident} was not answered for {GIVES_UP:g} s: {self.failures}")

    async def look(self) -> Report:
        """Whether all is as it must be."""

        async def guests(host: Host) -> dict[str, HostedGuest]:
            epochs = self._journals[host.name].epochs(host.id)
            powers = await self.drivers[host.name].guests()
            return {ident: HostedGuest(str(power), epochs.get(ident, 0)) for ident, power in powers.items()}

        clock = self.processes["timers"].clock
        return await look(CheckedParts(self.log, self.store, self.write_stores, guests, clock))

    @property
    def failures(self) -> dict[str, list[str]]:
        """What processes ended of."""
        return {name: list(map(repr, each.failures)) for name, each in self.processes.items() if each.failures}

    @property
    def unexplained(self) -> list[str]:
        """Of these, what nothing explains that goes wrong here on purpose."""
        return [
            f"{name} ended of {error!r}"
            for name, process in self.processes.items()
            for error in process.failures
            if ExceptionGroup("", [error]).split(FAULTS)[1]
        ]
