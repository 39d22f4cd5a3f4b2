"""Whether all is as it must be: every part's memory against the log, and against what the hypervisors run.

Why one program for operators and tests: what a crash test proves and what somebody looks at after an incident must be
the same. It only reads. What is on its way (a command that is not decided, an event that is not projected) is no
mistake; it is waited for.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from commands.engine import EngineRules
from commands.processor import Entry, Rules, restored
from commands.recovery.from_log import Part, Refilled, refill
from domain import catalog
from domain.aggregates import DECIDED
from domain.core.errors import UnknownMessage
from domain.core.messages import Command, Key, Topic, from_record
from domain.dead import DEAD
from domain.guest_spec import HostRef, Power
from domain.host.state import Host
from domain.instance.state import Instance, VmState
from domain.tasks.job import Where
from domain.tasks.subject import TaskSubject
from infra.db.postgres import PostgresWriteStore
from infra.db.write_store import Due, WriteStore
from infra.log.gaps import Gaps
from infra.log.kafka import KafkaLog
from infra.log.lag import Bounds, behind
from infra.log.log import Log, Positions
from infra.log.records import records
from infra.process.settings import Settings
from infra.secrets.segments import PostgresSegments
from projections.maintenance.verify import Findings, Folded, verify
from projections.store.port import Store
from projections.store.postgres import PostgresStore

KINDS: Mapping[str, tuple[str, ...]] = DECIDED
"""WriteStore -> the kinds of aggregates in it."""
TOPICS: Mapping[str, tuple[Topic, ...]] = {
    "engine": (Topic.COMMANDS, Topic.RESULTS),
    "scheduler": (Topic.SCHEDULING,),
}
OVERDUE = timedelta(seconds=60)
"""A deadline that is past by so much was told to nobody."""
END_OF_TIME = datetime.max.replace(tzinfo=UTC)
EVERYTHING = 1 << 40
AGENTS_AT_ONCE = 20
AGENT_SECONDS = 10.0
REFILL_SECONDS = 3600.0
"""Within which a refill's one transaction must be through."""
RUNNING = {Power.RUNNING, Power.PAUSED}


@dataclass(frozen=True)
class Guest:
    """What a host tells of a guest."""

    power: str
    epoch: int = 0
    """The host's, in which a job last gave the guest its power; 0 where the agent does not know."""


Guests = Callable[[Host], Awaitable[Mapping[str, Guest]]]
"""What a host's hypervisor has, by instance id. Raises AgentSilent."""


class AgentSilent(Exception):
    """A host's agent does not answer, so nothing is known of its guests."""


@dataclass(frozen=True)
class Parts:
    """What is compared."""

    log: Log
    store: Store
    write_stores: Mapping[str, WriteStore]
    guests: Guests
    clock: Callable[[], datetime]


@dataclass
class Seen:
    """All of it, as it was read."""

    now: datetime
    folded: Folded
    decided: dict[str, str] = field(default_factory=dict)
    """Command id -> where it lies, of those that a processor has passed and that ask for a verdict."""
    waiting: int = 0
    """Records that no processor has passed."""
    unsent: int = 0
    stored: dict[Key, Entry] = field(default_factory=dict)
    deadlines: dict[Key, Due] = field(default_factory=dict)
    parked: dict[Key, str] = field(default_factory=dict)
    guests: dict[str, Mapping[str, Guest]] = field(default_factory=dict)
    silent: list[str] = field(default_factory=list)

    @property
    def dead(self) -> int:
        """Dead records about which nobody did anything."""
        return sum(1 for _ in dead(self))

    @property
    def instances(self) -> Iterator[Instance]:
        """Every instance of the log."""
        return (state for state in self.folded.states.values() if isinstance(state, Instance))

    @property
    def hosts(self) -> Iterator[Host]:
        """Every host of the log."""
        return (state for state in self.folded.states.values() if isinstance(state, Host))


@dataclass(frozen=True)
class Report:
    """What was found."""

    seen: Seen
    problems: Mapping[str, list[str]]
    """By invariant; all of them, those that hold with an empty list."""
    moving: str
    """What was on its way; empty where all had come to rest."""

    @property
    def lines(self) -> list[str]:
        """Every problem with the invariant that it breaks."""
        return [f"{name}: {problem}" for name, problems in self.problems.items() for problem in problems]


def versions(seen: Seen) -> Iterator[str]:
    """The versions of an aggregate are 1, 2, 3 and so on, once each."""
    yield from seen.folded.problems.lines


def verdicts(seen: Seen) -> Iterator[str]:
    """Every decided command has exactly one verdict."""
    for ident, place in seen.decided.items():
        count = len(seen.folded.verdicts.get(ident, ()))
        if count != 1 and (count or not (seen.folded.behind or seen.unsent)):
            yield f"command {ident} at {place} has {count} verdicts"
    for ident, found in seen.folded.verdicts.items():
        if len(found) > 1 and ident not in seen.decided:
            yield f"command {ident} has {len(found)} verdicts"


def deadlines(seen: Seen) -> Iterator[str]:
    """Every task has ended, or has a deadline ahead; what is parked is told of none."""
    for key, entry in seen.stored.items():
        if not isinstance(entry.state, TaskSubject) or key in seen.parked:
            continue
        due = seen.deadlines.get(key)
        for task in entry.state.tasks:
            if due is None:
                yield f"task {task.id} of {key.kind} {key.id} has no deadline"
            elif due.due_at < seen.now - OVERDUE:
                yield f"task {task.id} of {key.kind} {key.id} was due at {due.due_at.isoformat()}"


def claims(seen: Seen) -> Iterator[str]:
    """Claims on hosts are those of the instances that are there: one each, and a second where it is moving."""
    instances = {instance.id: instance for instance in seen.instances}
    held: dict[tuple[str, str], list[Host]] = {}
    for host in seen.hosts:
        for claim_id, claim in host.claims.items():
            held.setdefault((claim.instance_id, claim_id), []).append(host)
    for (instance_id, claim_id), hosts in held.items():
        names = ", ".join(host.name for host in hosts)
        instance = instances.get(instance_id)
        if instance is not None and instance.task is not None:
            continue
        if len(hosts) > 1:
            yield f"claim {claim_id} of instance {instance_id} is held on {len(hosts)} hosts: {names}"
        elif instance is None or claim_id not in _claims_of(instance):
            yield f"host {names} holds a claim for instance {instance_id}, which is not there"
        elif hosts[0].cell != instance.cell:
            yield f"host {names} is of cell {hosts[0].cell}, and its instance {instance_id} of {instance.cell}"
    for instance in instances.values():
        if instance.task is not None:
            continue
        for claim_id, on in _claims_of(instance).items():
            if on.id not in {host.id for host in held.get((instance.id, claim_id), ())}:
                yield f"instance {instance.id} is on host {on.name} without a claim"
        if instance.vm_state is VmState.DELETED and instance.host is not None:
            yield f"instance {instance.id} is deleted and still has a host"


def _claims_of(instance: Instance) -> dict[str, HostRef]:
    """Claim id -> host, as the instance knows them."""
    found = {}
    for where in Where:
        host, claim = instance.held(where)
        if host is not None:
            found[claim or instance.id] = host
    return found


def usage(seen: Seen) -> Iterator[str]:
    """What a project's instances use is what hosts hold for it."""
    instances = {instance.id: instance for instance in seen.instances}
    uses: Counter[tuple[str, str]] = Counter()
    held: Counter[tuple[str, str]] = Counter()
    for host in seen.hosts:
        for claim_id, claim in host.claims.items():
            instance = instances.get(claim.instance_id)
            if instance is None or instance.task is not None or claim_id not in _claims_of(instance):
                continue
            uses.update({(instance.project, what): size for what, size in instance.resources().amounts().items()})
            held.update({(claim.project, what): size for what, size in claim.amounts().items()})
    for project, what in sorted({*uses, *held}):
        if (used := uses[project, what]) != (kept_for := held[project, what]):
            yield f"project {project} uses {used} of {what}, and hosts hold {kept_for} for it"


def states(seen: Seen) -> Iterator[str]:
    """What engine and scheduler remember is what the events make."""
    for key, version in seen.folded.versions.items():
        entry = seen.stored.get(key)
        if entry is None:
            yield f"{key} is not stored; the log has {version} versions of it"
        elif entry.version < version:
            yield f"{key} is stored at version {entry.version}; the log has {version}"
        elif entry.version == version and entry.state != seen.folded.states[key]:
            yield f"{key} is stored as {entry.state}; version {version} of the log makes {seen.folded.states[key]}"


def dues(seen: Seen) -> Iterator[str]:
    """Deadlines that the timers look for are those of the states."""
    rules = EngineRules()
    for key, entry in seen.stored.items():
        if key in seen.parked:
            continue
        at, ident = rules.due(entry.state)
        due = seen.deadlines.get(key)
        if (due.due_at if due else None) != at or (due is not None and due.due_id != ident):
            yield f"{key} is due at {at}, and the timers look at {due.due_at if due else None}"


def parked(seen: Seen) -> Iterator[str]:
    """No aggregate is parked."""
    for key, why in seen.parked.items():
        yield f"{key} takes no commands: {why}"


def dead(seen: Seen) -> Iterator[str]:
    """Every record that nobody could apply has been dealt with."""
    for _, record in seen.folded.dead.values():
        if record.status == DEAD:
            yield f"the record at {record.found.place} is dead: {record.found.why}"


def rows(seen: Seen) -> Iterator[str]:
    """Read models are what the events make."""
    yield from seen.folded.differences.lines


def domains(seen: Seen) -> Iterator[str]:
    """Every guest is of an instance that is there, or is there too while it moves; every instance that runs has its
    guest, in an epoch that it knows."""
    # An agent refuses jobs of an epoch before its host's, so what a job made run is in no later one than its instance.
    # In an earlier one it may be: guests outlive their agents, and instances hear of the next when there is work.
    instances = {instance.id: instance for instance in seen.instances}
    for host in seen.hosts:
        guests = seen.guests.get(host.id, {})
        running = {ident: guest for ident, guest in guests.items() if guest.power in RUNNING}
        for ident in guests.keys() - running.keys():
            instance = instances.get(ident)
            if instance is None:
                yield f"host {host.name} has a guest {ident}, which is no instance"
            elif instance.task is None and host.id not in {on.id for on in _claims_of(instance).values()}:
                there = " and ".join(on.name for on in _claims_of(instance).values()) or "nowhere"
                yield f"host {host.name} has a guest of instance {ident}, which is {there}"
        for ident, guest in running.items():
            instance = instances.get(ident)
            if instance is None:
                yield f"host {host.name} runs {ident}, which is no instance"
            elif instance.task is not None:
                continue
            elif instance.host is None or instance.host.id != host.id:
                there = instance.host.name if instance.host else "nowhere"
                yield f"host {host.name} runs instance {ident}, which is {there}"
            elif guest.epoch > instance.host.epoch:
                known = f"of which the instance, in epoch {instance.host.epoch}, was never told"
                yield f"host {host.name} runs instance {ident} since epoch {guest.epoch}, {known}"
        for instance in instances.values():
            if instance.host is None or instance.host.id != host.id or instance.task is not None:
                continue
            if instance.host.epoch > host.epoch:
                at = f"epoch {instance.host.epoch} of host {host.name}"
                yield f"instance {instance.id} is in {at}, which is in {host.epoch}"
            if host.id in seen.guests and instance.power in RUNNING and instance.id not in running:
                yield f"instance {instance.id} is {instance.power}, and host {host.name} does not run it"
        if host.claims and not host.endpoint:
            yield f"host {host.name} has no endpoint to ask at, so its guests are not known"
    for name in seen.silent:
        yield f"the agent of host {name} does not answer, so its guests are not known"


INVARIANTS: tuple[Callable[[Seen], Iterator[str]], ...] = (
    versions,
    verdicts,
    deadlines,
    dues,
    claims,
    usage,
    states,
    parked,
    dead,
    rows,
    domains,
)


async def look(parts: Parts) -> Report:
    """Compare once. Raises LogUnavailable, WriteStoreUnavailable, StoreUnavailable."""
    decided, waiting, unsent = await _decided(parts)
    async with parts.store.frozen() as frozen:
        folded = await verify(parts.log, frozen)
    seen = Seen(parts.clock(), folded, decided, waiting, unsent)
    # Read after the events: what is stored is never older than what is published.
    for name, write_store in parts.write_stores.items():
        rules: Rules = EngineRules()
        for kind in KINDS[name]:
            for key, row in (await write_store.all(kind)).items():
                seen.stored[key] = restored(rules, key, row)
        seen.deadlines |= {due.key: due for due in await write_store.due(END_OF_TIME, EVERYTHING)}
        seen.parked |= await write_store.parked()
    await _guests(parts, seen)
    ahead = sum(entry.version > folded.versions.get(key, 0) for key, entry in seen.stored.items())
    moving = {
        "records to be decided": waiting,
        "outboxes to be sent": unsent,
        "events to be projected": folded.behind,
        "states ahead of the read models": ahead,
    }
    problems = {each.__name__: Findings(each(seen)).lines for each in INVARIANTS}
    return Report(seen, problems, ", ".join(f"{count} {what}" for what, count in moving.items() if count))


async def check(parts: Parts, patience: float = 0.0, pause: float = 0.5) -> Report:
    """Compare until all is well and at rest, or `patience` seconds are over; the last report."""
    loop = asyncio.get_running_loop()
    end = loop.time() + patience
    while True:
        report = await look(parts)
        if (not report.lines and not report.moving) or loop.time() + pause > end:
            return report
        await asyncio.sleep(pause)


async def _decided(parts: Parts) -> tuple[dict[str, str], int, int]:
    """Commands that were passed, records that were not, and outboxes that lie there."""
    decided: dict[str, str] = {}
    waiting = unsent = 0
    for name, write_store in parts.write_stores.items():
        bounds = await parts.log.bounds(TOPICS[name])
        positions = await write_store.reached(list(bounds))
        waiting += await _waiting(parts.log, positions, bounds)
        unsent += len(await write_store.unsent())
        for topic in TOPICS[name]:
            if topic is Topic.RESULTS:
                continue
            async for record in records(parts.log, topic, positions):
                try:
                    envelope = from_record(record)
                except UnknownMessage:
                    continue
                if isinstance(envelope.data, Command) and getattr(envelope.data, "reply", None) is None:
                    decided[envelope.id] = record.place
    return decided, waiting, unsent


async def _waiting(log: Log, positions: Positions, bounds: Bounds) -> int:
    """Records behind these positions; the log may have places there at which there is nothing."""
    waiting = 0
    async with aclosing(Gaps(log)) as gaps:
        for each, (_, end) in bounds.items():
            count = behind({each: positions[each]}, bounds)
            if count and not await gaps.is_gap(each, positions[each], end):
                waiting += count
    return waiting


async def _guests(parts: Parts, seen: Seen) -> None:
    slots = asyncio.Semaphore(AGENTS_AT_ONCE)

    async def ask(host: Host) -> None:
        async with slots:
            try:
                seen.guests[host.id] = await parts.guests(host)
            except AgentSilent:
                seen.silent.append(host.name)

    await asyncio.gather(*(ask(host) for host in seen.hosts if host.endpoint))


def guests_by_http(session: aiohttp.ClientSession, token: str) -> Guests:
    """Asks the agents' own endpoints."""

    async def guests(host: Host) -> Mapping[str, Guest]:
        url = f"{host.endpoint.rstrip('/')}/v1/hosts/{host.id}/guests"
        try:
            async with session.get(url, headers={"Authorization": f"Bearer {token}"}) as answer:
                answer.raise_for_status()
                found: dict[str, Any] = await answer.json()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise AgentSilent(str(error)) from error
        # Agents of earlier releases tell no epochs.
        epochs = found.get("epochs", {})
        return {ident: Guest(power, epochs.get(ident, 0)) for ident, power in found["guests"].items()}

    return guests


async def refilled(settings: Settings) -> Refilled:
    """Fill the empty database of these settings from the log. Raises what refill() raises."""
    async with AsyncExitStack() as stack:
        log = KafkaLog(settings.log.bootstrap, settings.log.request_timeout)
        stack.push_async_callback(log.close)
        parts = []
        for name, kinds in KINDS.items():
            write_store = PostgresWriteStore(settings.db.dsn, name, timeout=REFILL_SECONDS)
            stack.push_async_callback(write_store.close)
            parts.append(Part(write_store, kinds, TOPICS[name]))
        keep = timedelta(seconds=settings.worker.inbox_keep)
        return await refill(log, parts, PostgresSegments(settings.db.dsn), datetime.now(UTC), keep)


async def everything(settings: Settings, patience: float) -> Report:
    """Compare the real parts. Raises SettingWrong where there is no token for the agents, and what look() raises."""
    assert catalog.MESSAGES
    token = await asyncio.to_thread(settings.secrets.agent_token)
    async with AsyncExitStack() as stack:
        log = KafkaLog(settings.log.bootstrap, settings.log.request_timeout)
        stack.push_async_callback(log.close)
        store = PostgresStore(settings.db.dsn, pool_size=1)
        await store.open()
        stack.push_async_callback(store.close)
        write_stores = {name: PostgresWriteStore(settings.db.dsn, name) for name in KINDS}
        for write_store in write_stores.values():
            stack.push_async_callback(write_store.close)
        timeout = aiohttp.ClientTimeout(total=AGENT_SECONDS)
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        parts = Parts(log, store, write_stores, guests_by_http(session, token), lambda: datetime.now(UTC))
        return await check(parts, patience)
