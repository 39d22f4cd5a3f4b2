"""Decisions of a cell: hosts register and change, instances are placed and released, zones come and go.

All of it passes through one stream in order, so claims never race. Claims are facts of their host.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from domain.core.errors import (
    AlreadyExists,
    ClaimGone,
    HostFull,
    HostGone,
    InUse,
    NotFound,
    OtherCell,
    deleted_at,
    some_of,
)
from domain.core.messages import (
    Envelope,
    Event,
    Key,
    Outcome,
    Outgoing,
    named_id,
)
from domain.core.names import must_be_name
from domain.core.text import in_units
from domain.guest_spec import HostRef
from domain.host.messages import (
    AssignZone,
    DisableHost,
    EnableHost,
    HearHost,
    HostClaimMade,
    HostClaimReleased,
    HostClaimResized,
    HostDisabled,
    HostEnabled,
    HostHeard,
    HostRegistered,
    HostSuspected,
    HostUplinkChanged,
    HostZoneAssigned,
    PlacementRefused,
    RegisterHost,
    SuspectHost,
)
from domain.host.state import Host, HostHealth
from domain.jobs.scheduling import Placed, PlaceInstance, Released, ReleaseInstance, ResizeHostClaim
from domain.named import exists, heir_of
from domain.scheduling.policy import Policy, choose, refusal
from domain.scheduling.table import HostTable
from domain.tasks.events import DeadlinePassed
from domain.tasks.messages import JobError, JobResult, Reply
from domain.zone import RULES, CreateZone, DeleteZone, UpdateZone, Zone, ZoneCreated, ZoneDeleted


@dataclass(frozen=True)
class Cell:
    """The state that a decision needs besides the record: hosts, policy, and the number of jobs partitions."""

    name: str
    table: HostTable
    policy: Policy
    partitions: int


Zones = Callable[[str], Zone | None]
"""Returns a zone by its id, deleted or not, or None."""


def zone_id(name: str) -> str:
    """Return the id of the first zone of a name, derived from the name; each later one's follows from that before."""
    return named_id("zone", name)


def decide(envelope: Envelope, subject: Any, zones: Zones, cell: Cell) -> Outcome:
    """Return the events and answers that follow from a record. `subject` is the state of the envelope's subject.
    Raises a Refusal."""
    match envelope.data:
        case PlaceInstance() as request:
            return _place(request, cell)
        case ReleaseInstance() as release:
            return _release(release, cell)
        case ResizeHostClaim() as resize:
            return _resize(resize, cell)
        case CreateZone() | UpdateZone() | DeleteZone():
            return _zone(envelope, subject, zones, cell)
        case RegisterHost() as register:
            return _register(envelope, register, subject, zones, cell)
        case _:
            return _host(envelope, subject, zones)


def _register(envelope: Envelope, register: RegisterHost, host: Host | None, zones: Zones, cell: Cell) -> Outcome:
    if host is not None and host.cell != cell.name:
        raise OtherCell(kind="Host", id=host.name, cell=host.cell)
    partition = host.partition if host else cell.table.least_used_partition(cell.partitions)
    registered = HostRegistered(
        name=register.name,
        zone=host.zone if host else register.zone,
        cell=cell.name,
        inventory=register.inventory,
        endpoint=register.endpoint,
        partition=partition,
        epoch=host.epoch + 1 if host else 1,
        at=envelope.time,
    )
    outcome = Outcome(events=[(envelope.subject, registered)])
    if (register.uplink, register.tunnel_key) != ((host.uplink, host.tunnel_key) if host else ("", "")):
        changed = HostUplinkChanged(uplink=register.uplink, tunnel_key=register.tunnel_key, at=envelope.time)
        outcome.events.append((envelope.subject, changed))
    if host is None:
        ident, zone = _called(register.zone, zones, cell.name)
        if zone is None:
            made = ZoneCreated(
                name=register.zone, cell=cell.name, description="made by its first host", at=envelope.time
            )
            outcome.events.append((Key("zone", ident), made))
    return outcome


def _host(envelope: Envelope, host: Host | None, zones: Zones) -> Outcome:
    if host is None:
        raise HostGone(id=envelope.subject.id)
    event: Event | None = None
    match envelope.data:
        case EnableHost():
            event = None if host.enabled else HostEnabled(at=envelope.time)
        case DisableHost(why=why, until=until):
            same = not host.enabled and (host.why_disabled, host.enable_at) == (why, until)
            event = None if same else HostDisabled(why=why, until=until, at=envelope.time)
        case DeadlinePassed():
            due = host.enable_at is not None and envelope.time >= host.enable_at
            event = HostEnabled(at=envelope.time) if due else None
        case AssignZone(zone=zone):
            if _called(zone, zones, host.cell)[1] is None:
                raise NotFound(kind="zone", id=zone)
            event = None if host.zone == zone else HostZoneAssigned(zone=zone, at=envelope.time)
        case SuspectHost():
            event = None if host.health is HostHealth.SUSPECT else HostSuspected(at=envelope.time)
        case HearHost():
            event = None if host.health is HostHealth.UP else HostHeard(at=envelope.time)
        case other:
            raise TypeError(f"{other.type_name} is nothing a cell decides")
    return Outcome(events=[(envelope.subject, event)] if event else [])


def _called(name: str, zones: Zones, cell: str) -> tuple[str, Zone | None]:
    """Return the zone that has this name, and its id; without one, the id that the next has. Raises OtherCell: a name
    belongs to its cell for ever, since other cells do not follow its changes."""
    ident = zone_id(name)
    while (zone := zones(ident)) is not None:
        if zone.cell != cell:
            raise OtherCell(kind="Zone", id=name, cell=zone.cell)
        if exists(zone):
            break
        ident = heir_of(ident)
    return ident, zone


def _zone(envelope: Envelope, zone: Zone | None, zones: Zones, cell: Cell) -> Outcome:
    if isinstance(envelope.data, CreateZone):
        if exists(zone) or _called(envelope.data.name, zones, cell.name) != (envelope.subject.id, None):
            raise AlreadyExists(kind="zone", id=envelope.data.name)
        must_be_name(envelope.data.name)
        created = ZoneCreated(
            name=envelope.data.name, cell=cell.name, description=envelope.data.description, at=envelope.time
        )
        return Outcome(events=[(envelope.subject, created)])
    if zone is None or not exists(zone):
        raise NotFound(kind="zone", id=envelope.subject.id, hint=deleted_at(zone.deleted if zone else None))
    if isinstance(envelope.data, UpdateZone):
        return Outcome(events=[(envelope.subject, event) for event in RULES.decide(zone, envelope).events])
    members = sorted(host.name for host in cell.table.hosts.values() if host.zone == zone.name)
    if members:
        user = f"{len(members)} hosts: {some_of(members)}"
        raise InUse(kind="Zone", id=zone.name, user=user, hint=f"All of them: gs host list --zone {zone.name}.")
    return Outcome(events=[(envelope.subject, ZoneDeleted(at=envelope.time))])


def _place(request: PlaceInstance, cell: Cell) -> Outcome:
    claim_id = request.claim_id or request.reply.job_id
    held = cell.table.claimed_by.get(claim_id)
    if held is None and not request.avoid:
        # A claim that an earlier release made for this very job has the instance's id.
        held = cell.table.claimed_by.get(request.instance_id)
        claim_id = request.instance_id if held else claim_id
    if held:
        return Outcome(outgoing=[_placed(request.reply, cell.table.hosts[held], claim_id)])
    choice = choose(request, cell.table, cell.policy)
    asked_for = {
        "claim_id": claim_id,
        "instance_id": request.instance_id,
        "arch": request.arch,
        "zone": request.zone,
        "wanted_host": request.wanted_host,
        "avoid": request.avoid,
        "among": request.among,
        "report": choice.report,
        **request.amounts(),
    }
    if choice.host_id is None:
        problem = refusal(choice.report)
        refused = PlacementRefused(cell=cell.name, **asked_for)
        error = JobError(code=problem.code, message=str(problem), ran=False, details=dict(problem.values["counts"]))
        return Outcome(
            notices=[(request.reply.key, refused)],
            outgoing=[request.reply.answer(JobResult(job_id=request.reply.job_id, name="Place", error=error))],
        )
    claim = HostClaimMade(
        holder_kind=request.reply.key.kind, project=request.project, number=cell.table.latest + 1, **asked_for
    )
    return Outcome(
        events=[(Key("host", choice.host_id), claim)],
        outgoing=[_placed(request.reply, cell.table.hosts[choice.host_id], claim_id)],
    )


def _release(release: ReleaseInstance, cell: Cell) -> Outcome:
    outcome = Outcome(outgoing=[release.reply.done("Release", Released())])
    for claim_id in release.claims:
        held = cell.table.claimed_by.get(claim_id)
        if held is not None:
            gone = HostClaimReleased(claim_id=claim_id, instance_id=release.instance_id)
            outcome.events.append((Key("host", held), gone))
            break
    return outcome


def _resize(resize: ResizeHostClaim, cell: Cell) -> Outcome:
    """Resize a claim. Raises ClaimGone, and HostFull where its host is short of what the claim needs more."""
    claim_id = next((each for each in resize.claims if each in cell.table.claimed_by), None)
    if claim_id is None:
        raise ClaimGone(id=resize.instance_id)
    host = cell.table.hosts[cell.table.claimed_by[claim_id]]
    more = {name: amount - getattr(host.claims[claim_id], name) for name, amount in resize.amounts().items()}
    free = cell.table.room(host.id)
    short = [name for name, amount in more.items() if amount > max(0, free[name])]
    if short:
        needs = (f"{_said(name, more[name])} more of {name}, {_said(name, free[name])} free" for name in short)
        raise HostFull(host=host.name, what="; ".join(needs))
    outcome = Outcome(outgoing=[resize.reply.done("ResizeClaim")])
    if any(more.values()):
        resized = HostClaimResized(claim_id=claim_id, instance_id=resize.instance_id, **resize.amounts())
        outcome.events.append((Key("host", host.id), resized))
    return outcome


def _said(resource: str, amount: int) -> str:
    return str(amount) if resource == "vcpus" else in_units(amount)


def _placed(reply: Reply, host: Host, claim_id: str) -> Outgoing:
    ref = HostRef(id=host.id, name=host.name, partition=host.partition, epoch=host.epoch, endpoint=host.endpoint)
    fact = Placed(host=ref, claim="" if claim_id == reply.key.id else claim_id)
    return reply.done("Place", fact)
