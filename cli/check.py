"""Checks whether all is as it must be: every part's memory against the log, and against what the hypervisors run.

Why one program for operators and tests: what a crash test proves and what an operator looks at after an incident must
be the same. The check only reads. What is on its way (a command that is not decided, an event that is not projected) is
no mistake; the check waits for it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import aiohttp

from cli.agents import (
    AgentSilent,
    Guests,
    HostedGuest,
    Networks,
    PoolVolumes,
    guests_by_http,
    networks_by_http,
    pool_volumes_by_http,
    without_networks,
    without_pools,
)
from cli.copy_check import copies
from cli.network_check import networks
from cli.pool_check import disks_in_pools, pool_disks, pools
from cli.shelved_check import shelved
from commands.engine import EngineRules
from commands.recovery.from_log import ProcessorShare, RefillResult, refill
from commands.rules import CachedAggregate, Rules, restored
from domain import catalog
from domain.aggregates import DECIDED
from domain.core.errors import UnknownMessage
from domain.core.messages import Command, Key, Topic, from_record
from domain.dead import DEAD
from domain.guest_spec import Power
from domain.host.state import Host
from domain.instance.state import Instance, VmState
from domain.network.on_host import HostNetworks
from domain.pool import Pool
from domain.tasks.placed import PlacedSubject
from domain.tasks.subject import TaskSubject
from domain.volume.state import Volume
from infra.db.postgres import PostgresWriteStore
from infra.db.write_store import Due, WriteStore
from infra.log.durability import Durability
from infra.log.gaps import Gaps
from infra.log.kafka import KafkaLog
from infra.log.lag import Bounds, behind
from infra.log.log import Log, LogUnavailable, Positions
from infra.log.records import records
from infra.process.settings import Settings
from infra.secrets.segments import PostgresSegments
from projections.maintenance.verify import Findings, FoldedLog, verify
from projections.store.port import Store
from projections.store.postgres import PostgresStore

KINDS: Mapping[str, tuple[str, ...]] = DECIDED
"""Write store -> the kinds of aggregates in it."""
TOPICS: Mapping[str, tuple[Topic, ...]] = {
    "engine": (Topic.COMMANDS, Topic.RESULTS),
    "scheduler": (Topic.SCHEDULING,),
}
OVERDUE = timedelta(seconds=60)
"""Time after which a deadline that has passed must have been acted on."""
END_OF_TIME = datetime.max.replace(tzinfo=UTC)
EVERYTHING = 1 << 40
AGENTS_AT_ONCE = 20
AGENT_SECONDS = 10.0
REFILL_SECONDS = 3600.0
"""Seconds in which the one transaction of a refill must end."""
RUNNING = {Power.RUNNING, Power.PAUSED, Power.BLOCKED}


@dataclass(frozen=True)
class CheckedParts:
    """The parts of a deployment that are compared: log, read models, write stores and hypervisors."""

    log: Log
    store: Store
    write_stores: Mapping[str, WriteStore]
    guests: Guests
    clock: Callable[[], datetime]
    networks: Networks = without_networks
    pool_volumes: PoolVolumes = without_pools


@dataclass
class Observations:
    """All that was read from the parts, at one time."""

    now: datetime
    folded: FoldedLog
    decided: dict[str, str] = field(default_factory=dict)
    """Id -> place of each command that a processor has passed and that needs a verdict."""
    waiting: int = 0
    """Records that no processor has passed yet."""
    unsent: int = 0
    stored: dict[Key, CachedAggregate] = field(default_factory=dict)
    deadlines: dict[Key, Due] = field(default_factory=dict)
    parked: dict[Key, str] = field(default_factory=dict)
    guests: dict[str, Mapping[str, HostedGuest]] = field(default_factory=dict)
    networks: dict[str, HostNetworks | None] = field(default_factory=dict)
    silent: list[str] = field(default_factory=list)
    untold: list[str] = field(default_factory=list)
    """Names of hosts that tell their guests, and not their networks."""
    pool_disks: dict[str, Collection[str]] = field(default_factory=dict)
    """Pool's id -> names of the files or images in it, of each pool that a host tells of."""
    durability: Durability | None = None
    """How durable the log is; None where it has no topics."""

    @property
    def dead(self) -> int:
        """Return the number of dead records that nobody has dealt with."""
        return sum(1 for _ in dead(self))

    @property
    def instances(self) -> Iterator[Instance]:
        """Return every instance of the log."""
        return (state for state in self.folded.states.values() if isinstance(state, Instance))

    @property
    def holders(self) -> Iterator[tuple[Key, PlacedSubject]]:
        """Return, with its key, every aggregate of the log that may have a place on a host."""
        return ((key, state) for key, state in self.folded.states.items() if isinstance(state, PlacedSubject))

    @property
    def hosts(self) -> Iterator[Host]:
        """Return every host of the log."""
        return (state for state in self.folded.states.values() if isinstance(state, Host))


@dataclass(frozen=True)
class Report:
    """The problems that a check found, and what was still on its way."""

    seen: Observations
    problems: Mapping[str, list[str]]
    """By invariant, its problems; an invariant that holds has an empty list."""
    moving: str
    """A sentence about records and events that were on their way; empty where all had come to rest."""

    @property
    def lines(self) -> list[str]:
        """Return every problem with the name of the invariant that it breaks."""
        return [f"{name}: {problem}" for name, problems in self.problems.items() for problem in problems]


def versions(seen: Observations) -> Iterator[str]:
    """The versions of an aggregate are 1, 2, 3 and so on, once each."""
    yield from seen.folded.problems.lines


def verdicts(seen: Observations) -> Iterator[str]:
    """Every decided command has exactly one verdict."""
    for ident, place in seen.decided.items():
        count = len(seen.folded.verdicts.get(ident, ()))
        if count != 1 and (count or not (seen.folded.behind or seen.unsent)):
            yield f"command {ident} at {place} has {count} verdicts"
    for ident, found in seen.folded.verdicts.items():
        if len(found) > 1 and ident not in seen.decided:
            yield f"command {ident} has {len(found)} verdicts"


def deadlines(seen: Observations) -> Iterator[str]:
    """Every task has ended, or has a deadline ahead, unless its aggregate is parked."""
    for key, entry in seen.stored.items():
        if not isinstance(entry.state, TaskSubject) or key in seen.parked:
            continue
        due = seen.deadlines.get(key)
        for task in entry.state.tasks:
            if due is None:
                yield f"task {task.id} of {key.kind} {key.id} has no deadline"
            elif due.due_at < seen.now - OVERDUE:
                yield f"task {task.id} of {key.kind} {key.id} was due at {due.due_at.isoformat()}"


def claims(seen: Observations) -> Iterator[str]:
    """Claims on hosts are those of existing instances and volumes: one each, and a second while one moves."""
    holders = dict(seen.holders)
    held: dict[tuple[Key, str], list[Host]] = {}
    for host in seen.hosts:
        for claim_id, claim in host.claims.items():
            held.setdefault((Key(claim.holder_kind, claim.instance_id), claim_id), []).append(host)
    for (key, claim_id), hosts in held.items():
        names = ", ".join(host.name for host in hosts)
        holder = holders.get(key)
        if holder is not None and holder.task is not None:
            continue
        if len(hosts) > 1:
            yield f"claim {claim_id} of {key.kind} {key.id} is held on {len(hosts)} hosts: {names}"
        elif holder is None or claim_id not in holder.claims():
            yield f"host {names} holds a claim for {key.kind} {key.id}, which is not there"
        elif hosts[0].cell != holder.cell:
            yield f"host {names} is of cell {hosts[0].cell}, and its {key.kind} {key.id} of {holder.cell}"
    for key, holder in holders.items():
        if holder.task is not None:
            continue
        for claim_id, on in holder.claims().items():
            if on.id not in {host.id for host in held.get((key, claim_id), ())}:
                yield f"{key.kind} {key.id} is on host {on.name} without a claim"
        if holder.current_status == VmState.DELETED and holder.host is not None:
            yield f"{key.kind} {key.id} is deleted and still has a host"


def volumes(seen: Observations) -> Iterator[str]:
    """A volume in use is one of those that its instance has, and an instance's volumes are reserved for it."""
    holders = dict(seen.holders)
    for key, state in holders.items():
        if isinstance(state, Volume) and state.instance_id:
            instance = holders.get(Key("instance", state.instance_id))
            has = isinstance(instance, Instance) and any(each.id == key.id for each in instance.volumes)
            if not has and (instance is None or instance.task is None):
                yield f"volume {key.id} is reserved for instance {state.instance_id}, which does not have it"
        if isinstance(state, Instance) and state.task is None:
            for each in state.volumes:
                volume = holders.get(Key("volume", each.id))
                if not isinstance(volume, Volume) or volume.instance_id != key.id:
                    yield f"instance {key.id} has volume {each.id}, which is not reserved for it"


def usage(seen: Observations) -> Iterator[str]:
    """The resources that a project's instances and volumes use are those that hosts hold for it."""
    holders = dict(seen.holders)
    uses: Counter[tuple[str, str]] = Counter()
    held: Counter[tuple[str, str]] = Counter()
    for host in seen.hosts:
        for claim_id, claim in host.claims.items():
            holder = holders.get(Key(claim.holder_kind, claim.instance_id))
            if holder is None or holder.task is not None or claim_id not in holder.claims():
                continue
            needed = holder.reserved()[claim_id].amounts()
            uses.update({(holder.project, what): size for what, size in needed.items()})
            held.update({(claim.project, what): size for what, size in claim.amounts().items()})
    for project, what in sorted({*uses, *held}):
        if (used := uses[project, what]) != (kept_for := held[project, what]):
            yield f"project {project} uses {used} of {what}, and hosts hold {kept_for} for it"


def states(seen: Observations) -> Iterator[str]:
    """The states that engine and scheduler store are those that the events make."""
    for key, version in seen.folded.versions.items():
        entry = seen.stored.get(key)
        if entry is None:
            yield f"{key} is not stored; the log has {version} versions of it"
        elif entry.version < version:
            yield f"{key} is stored at version {entry.version}; the log has {version}"
        elif entry.version == version and entry.state != seen.folded.states[key]:
            yield f"{key} is stored as {entry.state}; version {version} of the log makes {seen.folded.states[key]}"


def dues(seen: Observations) -> Iterator[str]:
    """Deadlines that the timers look for are those of the states."""
    rules = EngineRules()
    for key, entry in seen.stored.items():
        if key in seen.parked:
            continue
        at, ident = rules.due(entry.state)
        due = seen.deadlines.get(key)
        if (due.due_at if due else None) != at or (due is not None and due.due_id != ident):
            yield f"{key} is due at {at}, and the timers look at {due.due_at if due else None}"


def parked(seen: Observations) -> Iterator[str]:
    """No aggregate is parked."""
    for key, why in seen.parked.items():
        yield f"{key} takes no commands: {why}"


def dead(seen: Observations) -> Iterator[str]:
    """Every record that could not be applied has been dealt with."""
    for _, record in seen.folded.dead.values():
        if record.status == DEAD:
            yield f"the record at {record.found.place} is dead: {record.found.why}"


def rows(seen: Observations) -> Iterator[str]:
    """Read models are what the events make."""
    yield from seen.folded.differences.lines


def _places(instance: Instance) -> dict[str, str]:
    """Id -> name of each host that the instance is on, or moves from or to."""
    return {host.id: host.name for host in instance.claims().values()}


def domains(seen: Observations) -> Iterator[str]:
    """Every guest belongs to an instance of its host, or to one that moves from or to it; every running instance has
    its guest, in an epoch that it knows."""
    # An agent refuses jobs of an epoch before its host's, so what a job made run is in no later one than its instance.
    # In an earlier one it may be: guests outlive their agents, and instances hear of the next when there is work.
    instances = {instance.id: instance for instance in seen.instances}
    for host in seen.hosts:
        guests = seen.guests.get(host.id, {})
        running = {ident: guest for ident, guest in guests.items() if guest.power in RUNNING}
        for ident in guests.keys() - running.keys():
            instance = instances.get(ident)
            if instance is None:
                yield f"host {host.name} has a guest {ident}, which is the id of no instance"
            elif instance.task is None and host.id not in (places := _places(instance)):
                there = " and ".join(places.values()) or "no host"
                yield f"host {host.name} has a guest of instance {ident}, which belongs to {there}"
        for ident, guest in running.items():
            instance = instances.get(ident)
            if instance is None:
                yield f"host {host.name} runs {ident}, which is the id of no instance"
            elif instance.task is not None:
                continue
            elif instance.host is None or instance.host.id != host.id:
                there = f"to {instance.host.name}" if instance.host else "nowhere"
                yield f"host {host.name} runs instance {ident}, which belongs {there}"
            elif guest.epoch > instance.host.epoch:
                unknown = f"and the instance knows of epoch {instance.host.epoch} alone"
                yield f"host {host.name} runs instance {ident} since epoch {guest.epoch}, {unknown}"
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


INVARIANTS: tuple[Callable[[Observations], Iterator[str]], ...] = (
    versions,
    verdicts,
    deadlines,
    dues,
    claims,
    shelved,
    volumes,
    pools,
    pool_disks,
    copies,
    usage,
    states,
    parked,
    dead,
    rows,
    domains,
    networks,
)


async def look(parts: CheckedParts) -> Report:
    """Compare the parts once. Raises LogUnavailable, WriteStoreUnavailable, StoreUnavailable."""
    decided, waiting, unsent = await _decided(parts)
    async with parts.store.frozen() as frozen:
        folded = await verify(parts.log, frozen)
    seen = Observations(parts.clock(), folded, decided, waiting, unsent)
    with suppress(LogUnavailable):
        # It answered a moment ago; that it may not be asked for this is no reason to compare nothing.
        seen.durability = await parts.log.durability()
    # Read after the events: what is stored is never older than what is published.
    for name, write_store in parts.write_stores.items():
        rules: Rules = EngineRules()
        for kind in KINDS[name]:
            for key, row in (await write_store.all(kind)).items():
                seen.stored[key] = restored(rules, key, row)
        seen.deadlines |= {due.key: due for due in await write_store.due(END_OF_TIME, EVERYTHING)}
        seen.parked |= await write_store.parked()
    await _guests(parts, seen)
    there = ((key.id, pool) for key, pool in folded.states.items() if isinstance(pool, Pool))
    seen.pool_disks = await disks_in_pools(there, seen.hosts, parts.pool_volumes)
    ahead = sum(entry.version > folded.versions.get(key, 0) for key, entry in seen.stored.items())
    moving = {
        "records to be decided": waiting,
        "outboxes to be sent": unsent,
        "events to be projected": folded.behind,
        "states ahead of the read models": ahead,
    }
    problems = {each.__name__: Findings(each(seen)).lines for each in INVARIANTS}
    return Report(seen, problems, ", ".join(f"{count} {what}" for what, count in moving.items() if count))


async def check(parts: CheckedParts, patience: float = 0.0, pause: float = 0.5) -> Report:
    """Compare until all is well and at rest, or `patience` seconds are over; return the last report."""
    loop = asyncio.get_running_loop()
    end = loop.time() + patience
    while True:
        report = await look(parts)
        if (not report.lines and not report.moving) or loop.time() + pause > end:
            return report
        await asyncio.sleep(pause)


async def _decided(parts: CheckedParts) -> tuple[dict[str, str], int, int]:
    """Return the commands that were passed, and the numbers of waiting records and of unsent outboxes."""
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
    """Count the records behind these positions. The log may have places there without a record."""
    waiting = 0
    async with aclosing(Gaps(log)) as gaps:
        for each, (_, end) in bounds.items():
            count = behind({each: positions[each]}, bounds)
            if count and not await gaps.is_gap(each, positions[each], end):
                waiting += count
    return waiting


async def _guests(parts: CheckedParts, seen: Observations) -> None:
    slots = asyncio.Semaphore(AGENTS_AT_ONCE)

    async def ask(host: Host) -> None:
        async with slots:
            try:
                seen.guests[host.id] = await parts.guests(host)
            except AgentSilent:
                seen.silent.append(host.name)
                return
            try:
                seen.networks[host.id] = await parts.networks(host)
            except AgentSilent:
                seen.untold.append(host.name)

    await asyncio.gather(*(ask(host) for host in seen.hosts if host.endpoint))


async def refill_database(settings: Settings) -> RefillResult:
    """Fill the empty database of these settings from the log. Raises what refill() raises."""
    async with AsyncExitStack() as stack:
        log = KafkaLog(settings.log.bootstrap, settings.log.request_timeout)
        stack.push_async_callback(log.close)
        parts = []
        for name, kinds in KINDS.items():
            write_store = PostgresWriteStore(settings.db.dsn, name, timeout=REFILL_SECONDS)
            stack.push_async_callback(write_store.close)
            parts.append(ProcessorShare(write_store, kinds, TOPICS[name]))
        keep = timedelta(seconds=settings.worker.inbox_keep)
        return await refill(log, parts, PostgresSegments(settings.db.dsn), datetime.now(UTC), keep)


async def check_deployment(settings: Settings, patience: float) -> Report:
    """Compare the parts that the settings name.

    Raises SettingWrong where there is no token for the agents, and what look() raises.
    """
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
        parts = CheckedParts(
            log,
            store,
            write_stores,
            guests_by_http(session, token),
            lambda: datetime.now(UTC),
            networks_by_http(session, token),
            pool_volumes_by_http(session, token),
        )
        return await check(parts, patience)
