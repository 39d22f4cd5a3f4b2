"""A history: what users do and what goes wrong, as a script that a seed makes; and how it must end.

Why a script and not random calls: it can be printed, shortened until only what matters is left, and run again.
"""

import asyncio
import hashlib
import uuid
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import orjson

from api.writes.verdicts import CommandVerdict
from cli.check import Report
from domain.aggregates import AGGREGATES
from domain.core.cells import in_turn
from domain.core.messages import Command, Key, Topic, from_record
from domain.disk_source import NewRoot, RootVolume, VolumeSource
from domain.guest_spec import Power
from domain.instance.actions import ACTIONS
from domain.instance.actions.lifecycle.update import UpdateInstance
from domain.instance.state import Instance
from domain.network.messages import CreateNetwork
from domain.scheduling.policy import DEFAULT
from domain.scheduling.simulation import Question
from domain.scheduling.simulation import simulate as simulate_placements
from domain.scheduling.table import Ratios
from domain.tasks.events import CancelTask
from domain.tasks.job import JOBS, HostJob, Where
from projections.history.scheduler_history import read_past
from tests.domain.instances import NETWORK, boot_command
from tests.harness.samples import BY_KIND, IMAGE, drawn
from tests.simulation.cluster import CELLS, ROOMS, Cluster
from tests.simulation.loop import simulate
from tests.simulation.processes import factory

INSTANCES = 5
VERBS = tuple(name for name, action in ACTIONS.items() if not action.creates)
OTHER_VERBS = tuple(
    f"{kind.name} {action.name}"
    for kind in AGGREGATES.values()
    if kind.name != "instance"
    for action in kind.actions.values()
)
"""Of whatever else tasks work on, as `KIND VERB`."""
SHARE_OF_VERBS = 18.0
"""How often all of them together, beside the rest below; however many there are, as much goes wrong."""
PATIENCE = 6 * 3600.0
"""Seconds in which everything must have come to an end once nothing goes wrong any more."""
HOST_JOBS = sorted(name for name in JOBS if issubclass(JOBS[name], HostJob))
REPEATED = (Topic.COMMANDS, Topic.RESULTS, Topic.SCHEDULING, Topic.JOBS)


@dataclass(frozen=True)
class Action:
    """One line of a script: what, and the numbers that say of what and how long."""

    what: str
    which: int = 0
    seconds: float = 0.0


WEIGHTS = {
    "boot": 8,
    **dict.fromkeys(OTHER_VERBS, 1),
    **dict.fromkeys(VERBS, SHARE_OF_VERBS / len(VERBS)),
    "update": 1,
    "cancel": 2,
    "kill": 5,
    "halt": 2,
    "rebalance": 2,
    "log-away": 1,
    "db-away": 1,
    "clock": 1,
    "guest-off": 2,
    "job-fails": 2,
    "repeat": 3,
    "wait": 6,
}
"""What may happen, and how often."""


def script(seed: int) -> list[Action]:
    """The script that the seed makes."""
    random = Random(seed)
    words = random.choices(list(WEIGHTS), list(WEIGHTS.values()), k=random.randint(5, 30))
    return [Action(word, random.randrange(1 << 16), round(random.expovariate(0.5), 3)) for word in words]


@dataclass(frozen=True)
class End:
    """How a history ended."""

    problems: tuple[str, ...]
    mark: str
    """Of everything on the log: the same history has the same."""
    events: int
    seconds: float
    """That passed in it."""
    trace: tuple[str, ...] = ()


def run(actions: Sequence[Action], seed: int) -> End:
    """Live through it. The seed makes everything that the script leaves open."""
    end: End = simulate(_run(actions, Random(seed)))
    return end


async def _run(actions: Sequence[Action], random: Random) -> End:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(factory)  # type: ignore[arg-type]
    cluster = Cluster(random)
    calm, cluster.weather.chance = cluster.weather.chance, 0.0
    await cluster.start()
    await cluster.send(_id(random), Key("network", NETWORK), CreateNetwork(name="lan", cidr="10.0.0.0/28", segment=1))
    cluster.weather.chance = calm
    clients: list[asyncio.Task[None]] = []
    for action in actions:
        await _act(cluster, action, clients, random)
        await asyncio.sleep(random.random())
    cluster.weather.clear()
    for process in cluster.processes.values():
        process.resume()
        process.ahead = timedelta()
    await asyncio.gather(*clients)
    report = await _rest(cluster)
    problems = list(report.lines)
    if report.moving:
        problems.append(f"after {PATIENCE:g} s still on its way: {report.moving}")
    problems += cluster.unexplained
    problems += await _decided_otherwise(cluster)
    problems += _answered_otherwise(cluster)
    problems += _left_behind(cluster, report)
    for state in report.seen.instances:
        problems += [f"instance {state.id} is still at {task}" for task in state.tasks]
    mark = hashlib.sha256()
    for topic in Topic:
        for record in cluster.log.all(topic):
            mark.update(orjson.dumps([record.place, record.value.decode(), [h[1].decode() for h in record.headers]]))
    trace = [f"{name}: {failure}" for name, failures in cluster.failures.items() for failure in failures]
    return End(tuple(problems), mark.hexdigest(), report.seen.folded.events, loop.time(), tuple(trace))


async def _rest(cluster: Cluster) -> Report:
    """Until nothing is wrong or on its way any more, or patience has ended."""
    loop = asyncio.get_running_loop()
    until = loop.time() + PATIENCE
    pause = 2.0
    while True:
        await asyncio.sleep(pause)
        report = await cluster.look()
        ended = not any(state.tasks for state in report.seen.instances)
        if (not report.lines and not report.moving and ended) or loop.time() > until:
            return report
        pause = min(pause * 2, 600.0)


async def _decided_otherwise(cluster: Cluster) -> list[str]:
    """Placements that the past, gone through again by the scheduler's own policy, does not make as they were made."""
    begin, end = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    question = Question(DEFAULT, Ratios(), DEFAULT, Ratios(), begin, end, most=1 << 30)
    found = simulate_placements(await read_past(cluster.log, begin, end), question)
    otherwise = [f"placement at {each.place}: {each.why}" for each in found.decided if each.was != each.would]
    return otherwise + [f"{count} placements: {why}" for why, count in found.unlike.items()]


def _answered_otherwise(cluster: Cluster) -> list[str]:
    """Clients that were told something else than the log says."""
    said = {
        envelope.causation: CommandVerdict.of_event(envelope)
        for envelope in map(from_record, cluster.log.all(Topic.EVENTS))
        if envelope.verdict
    }
    return [
        f"command {ident}: the client was told {told}, the log says {said.get(ident)}"
        for ident, told in cluster.answered.items()
        if told != said.get(ident)
    ]


def _left_behind(cluster: Cluster, report: Report) -> list[str]:
    """Guests and disks on hosts that are none of their instance's: one has it, or both of a move."""
    places = {
        state.id: {host.name for where in Where if (host := state.host_at(where))} for state in report.seen.instances
    }
    return [
        f"host {name} has something of instance {ident}, which is at {places.get(ident) or 'no host'}"
        for name, driver in cluster.drivers.items()
        for ident in driver.kept()
        if name not in places.get(ident, ())
    ]


def _id(random: Random) -> str:
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


def _instance(number: int) -> Key:
    return Key("instance", str(uuid.UUID(int=1 + number % INSTANCES)))


async def _act(cluster: Cluster, action: Action, clients: list[asyncio.Task[None]], random: Random) -> None:
    def send(subject: Key, command: Command) -> None:
        clients.append(asyncio.create_task(_sent(cluster.send(_id(random), subject, command))))

    loop = asyncio.get_running_loop()
    names = list(cluster.processes)
    process = cluster.processes[names[action.which % len(names)]]
    key = _instance(action.which)
    match action.what:
        case "boot":
            cells = in_turn(dict.fromkeys(CELLS, 1), str(action.which))
            boot = boot_command(name=f"i{action.which % INSTANCES}", cells=cells)
            send(key, boot.but(**_root(action.which)))
        case "update":
            send(key, UpdateInstance(name=f"renamed-{action.which}"))
        case "cancel":
            state = await _state(cluster, key)
            if state and state.tasks:
                send(key, CancelTask(task_id=state.tasks[action.which % len(state.tasks)].id))
        case "kill":
            process.kill()
        case "halt":
            process.stop()
            loop.call_later(action.seconds * 10, process.resume)
        case "rebalance":
            cluster.rebalance()
        case "log-away":
            cluster.weather.log_down_until = loop.time() + action.seconds * 10
        case "db-away":
            cluster.weather.db_down_until = loop.time() + action.seconds * 10
        case "clock":
            process.ahead = timedelta(seconds=(action.seconds - 2) * 300)
        case "guest-off":
            await _guest_off(cluster, key, Power.CRASHED if action.which % 2 else Power.SHUTDOWN)
        case "job-fails":
            driver = list(cluster.drivers.values())[action.which % len(ROOMS)]
            job = HOST_JOBS[action.which % len(HOST_JOBS)]
            driver.failures[job] = 1.0
            loop.call_later(action.seconds * 5, driver.failures.clear)
        case "repeat":
            records = cluster.log.all(REPEATED[action.which % len(REPEATED)])
            if records:
                record = records[random.randrange(len(records))]
                await super(type(cluster.log), cluster.log).publish([record])
        case "wait":
            await asyncio.sleep(action.seconds)
        case verb if verb in OTHER_VERBS:
            kind, _, verb = verb.partition(" ")
            ident = BY_KIND[kind][action.which % len(BY_KIND[kind])]
            send(Key(kind, ident), drawn(AGGREGATES[kind].actions[verb].command, Random(action.which)))
        case verb:
            begins = await _begins(cluster, verb) if action.which % 4 else []
            key = begins[action.which % len(begins)] if begins else key
            send(key, drawn(ACTIONS[verb].command, Random(action.which)))


def _root(which: int) -> dict[str, Any]:
    """Of some boots: the volume that the instance boots from, which is made for it, or is there or not."""
    volumes = BY_KIND["volume"]
    ident = volumes[which % len(volumes)]
    match which % 6:
        case 0:
            return {"root": RootVolume(id=ident), "disk": 0}
        case 1:
            new = NewRoot(name="root", size=1 << 30, source=VolumeSource.of_image(IMAGE))
            ident, goes = str(uuid.UUID(int=1000 + which)), which % 4 == 1
            return {"root": RootVolume(id=ident, delete_on_termination=goes, new=new), "disk": 0}
        case _:
            return {}


async def _sent(request: Awaitable[object]) -> None:
    await request


async def _state(cluster: Cluster, key: Key) -> Instance | None:
    row = (await cluster.write_stores["engine"].all("instance")).get(key)
    return Instance.model_validate_json(row.state) if row else None


async def _begins(cluster: Cluster, verb: str) -> list[Key]:
    """Instances that this verb begins with, as they are now: chosen blindly, most verbs would be refused."""
    rows = (await cluster.write_stores["engine"].all("instance")).items()
    states = [(key, Instance.model_validate_json(row.state)) for key, row in rows]
    return sorted(key for key, state in states if not state.tasks and state.vm_state in ACTIONS[verb].begins)


async def _guest_off(cluster: Cluster, key: Key, power: Power) -> None:
    for driver in cluster.drivers.values():
        if (await driver.power(key.id)) is Power.RUNNING:
            await driver.power_off_by_itself(key.id, power)
