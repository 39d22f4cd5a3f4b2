"""Pools: places for volumes that several hosts reach, so that a volume is tied to none of them.

A pool is a directory that its hosts have mounted from elsewhere (NFS, CephFS), or a pool of a Ceph cluster. Which hosts
reach it, and how much space there is, its hosts say; who holds how much of it is decided here, one claim after the
other, so that what is promised is never more than there is.

Why one host founds it: a host on which the file system is not mounted has the directory all the same, and would write
volumes to its own disk. So the first host that finds the directory writes the pool's id there, and every other one has
to find it. In a Ceph cluster the same id keeps two pools of GoStack from one of Ceph's.
"""

import posixpath
import re
from dataclasses import replace
from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import Field

from domain.core.errors import Category, InUse, Invalid, Refusal, some_of
from domain.core.fields import BYTES, PERSONAL, PLAIN
from domain.core.messages import Command, Decision, Envelope, Event, Model
from domain.core.persistent_map import EMPTY, Table
from domain.jobs.pool import (
    ClaimInPool,
    PoolSeen,
    PoolSight,
    PoolSpace,
    PoolSpaceClaimed,
    PoolSpaceReleased,
    PoolType,
    ReleaseInPool,
    differs,
)
from domain.kind import Kind, Unique
from domain.named import Named

CEPH_CONF = "/etc/ceph/ceph.conf"
CEPH_USER = "gostack"
LONGEST_PATH = 1024
MOST_HOSTS = 64
"""Hosts among which one is chosen for work on a pool: the rest of a larger number would change nothing."""


class PoolClaim(Model):
    """Space of a pool that is held for one thing."""

    holder_kind: str
    """Kind of what holds it, such as volume; its id is the claim's."""
    project: str
    size: int
    """Bytes that are held, however few of them are written yet."""


class Pool(Model):
    """A place for volumes that several hosts reach."""

    id: str
    name: Annotated[str, PLAIN]
    type: PoolType = PoolType.FILE
    path: Annotated[str, PLAIN] = ""
    """Absolute path of its directory; empty where the type is rbd."""
    ceph_pool: Annotated[str, PLAIN] = ""
    """Name of the pool in the Ceph cluster; empty unless the type is rbd, as all that is Ceph's."""
    ceph_conf: Annotated[str, PLAIN] = ""
    ceph_user: Annotated[str, PLAIN] = ""
    description: Annotated[str, PERSONAL] = ""
    reserved: int = 0
    ratio: float = 1.0
    draining: bool = False
    founder: str = ""
    """Id of the host that wrote the pool's id into it; empty: none has yet."""
    hosts: dict[str, PoolSpace] = {}
    """Host id -> what the host found."""
    claims: Table[PoolClaim] = EMPTY
    """Id of what holds space -> the claim."""
    claimed: int = 0
    """Sum of all claims, in bytes."""
    created: datetime
    updated: datetime
    deleted: datetime | None = None

    @property
    def reached_by(self) -> tuple[str, ...]:
        """Ids of the hosts that reach the pool, sorted."""
        return tuple(sorted(ident for ident, host in self.hosts.items() if host.sight is PoolSight.REACHED))

    @property
    def capacity(self) -> int:
        """Bytes that it can hold, as the host that knows of least says; 0 while no host reaches it."""
        return min((self.hosts[ident].capacity for ident in self.reached_by), default=0)

    @property
    def room(self) -> int:
        """Bytes that may still be claimed; below zero where more is promised than there is by now."""
        return int(self.capacity * self.ratio) - self.reserved - self.claimed


class PoolCommand(Command):
    """A command for a pool."""

    abstract: ClassVar[bool] = True
    kind = "pool"


class CreatePool(PoolCommand):
    """Create a pool in a directory that several hosts share, or in a Ceph cluster; hosts find it within seconds."""

    name: Annotated[str, PLAIN]
    type: PoolType = PoolType.FILE
    """Whether volumes are files in a directory (file), or images in a pool of a Ceph cluster (rbd)."""
    path: Annotated[str, PLAIN, Field(max_length=LONGEST_PATH)] = ""
    """Of type file: absolute path of the directory, the same on every host."""
    ceph_pool: Annotated[str, PLAIN, Field(max_length=128)] = ""
    """Of type rbd: name of the pool in the Ceph cluster, in which there is nothing else."""
    ceph_conf: Annotated[str, PLAIN, Field(max_length=LONGEST_PATH)] = ""
    """Of type rbd: path of the cluster's configuration on every host, /etc/ceph/ceph.conf where none is given."""
    ceph_user: Annotated[str, PLAIN, Field(max_length=64)] = ""
    """Of type rbd: the Ceph user, gostack where none is given; its keyring is beside the configuration."""
    description: Annotated[str, PERSONAL] = ""
    reserved: Annotated[int, BYTES, Field(ge=0, le=1 << 60)] = 0
    """Space that is never claimed, in bytes."""
    ratio: Annotated[float, Field(ge=0.01, le=100)] = 1.0
    """Bytes that may be claimed for each byte that there is: more than 1 is overcommit."""


class UpdatePool(PoolCommand):
    """Change a pool's description, reserve or overcommit; fields that are left out stay as they are."""

    description: Annotated[str | None, PERSONAL] = None
    reserved: Annotated[int | None, BYTES, Field(ge=0, le=1 << 60)] = None
    ratio: Annotated[float | None, Field(ge=0.01, le=100)] = None


class DrainPool(PoolCommand):
    """Have a pool take nothing new; what is in it stays, and can be used."""

    off: bool = False
    """Whether the pool takes new volumes again."""


class DeletePool(PoolCommand):
    """Delete a pool that holds nothing; its directory, or its pool in the Ceph cluster, stays."""

    relieves: ClassVar[bool] = True


class PoolEvent(Event):
    """A fact about a pool."""

    abstract: ClassVar[bool] = True
    kind = "pool"


class PoolCreated(PoolEvent):
    """The pool exists from now on; hosts look for it."""

    revision = 2

    name: Annotated[str, PLAIN]
    type: PoolType = PoolType.FILE
    path: Annotated[str, PLAIN] = ""
    ceph_pool: Annotated[str, PLAIN] = ""
    ceph_conf: Annotated[str, PLAIN] = ""
    ceph_user: Annotated[str, PLAIN] = ""
    description: Annotated[str, PERSONAL] = ""
    reserved: int = 0
    ratio: float = 1.0
    at: datetime


class PoolUpdated(PoolEvent):
    """The pool changed; a field that is None stays as it was."""

    description: Annotated[str | None, PERSONAL] = None
    reserved: int | None = None
    ratio: float | None = None
    at: datetime


class PoolDrained(PoolEvent):
    """The pool takes nothing new, or takes new volumes again."""

    draining: bool
    at: datetime


class PoolFounded(PoolEvent):
    """A host, and no other, is to write the pool's id into its directory or Ceph pool."""

    host_id: str
    at: datetime


class PoolHostChanged(PoolEvent):
    """A host finds the pool differently from before."""

    host_id: str
    sight: PoolSight
    capacity: int
    available: int
    at: datetime


class PoolClaimMade(PoolEvent):
    """Space of the pool is held for something."""

    claim_id: str
    """Id of what holds it."""
    holder_kind: str
    project: str
    size: int


class PoolClaimReleased(PoolEvent):
    """The space is free again."""

    claim_id: str


class PoolDeleted(PoolEvent):
    """The pool is deleted; its directory or Ceph pool is nobody's concern any more."""

    at: datetime


class PoolFull(Refusal):
    """Pool {pool} has {room} bytes left, and {size} are needed."""

    code = "pool-full"
    category = Category.CONFLICT
    hint = "Delete volumes, use another pool, or have an operator change its overcommit (gs pool update --ratio)."


class PoolDraining(Refusal):
    """Pool {pool} takes nothing new: it is drained."""

    code = "pool-draining"
    category = Category.CONFLICT
    hint = "Use another pool (gs pool list); an operator ends it with gs pool drain --off."


class PoolNotReached(Refusal):
    """No host reaches pool {pool}."""

    code = "pool-not-reached"
    category = Category.CONFLICT
    hint = "gs pool show tells what each host found; a new pool is found within seconds."


_OTHERS = {PoolType.FILE: ("ceph_pool", "ceph_conf", "ceph_user"), PoolType.RBD: ("path",)}
"""Type of a pool -> the fields that belong to the other types."""
_CEPH_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
"""Names of pools and users in a Ceph cluster that GoStack works with; Ceph itself permits more."""

RULES = Named("pool", Pool, CreatePool, PoolCreated, DeletePool, PoolDeleted, UpdatePool, PoolUpdated)


def evolve(now: Pool | None, event: Event, subject_id: str) -> Pool:
    """Return the pool after this event. Raises TypeError for an event of another kind."""
    match event:
        case PoolDrained() if now is not None:
            return now.but(draining=event.draining, updated=event.at)
        case PoolFounded() if now is not None:
            return now.but(founder=event.host_id)
        case PoolHostChanged() if now is not None:
            found = PoolSpace(sight=event.sight, capacity=event.capacity, available=event.available)
            return now.but(hosts={**now.hosts, event.host_id: found})
        case PoolClaimMade() if now is not None:
            had = now.claims.get(event.claim_id)
            claim = PoolClaim(holder_kind=event.holder_kind, project=event.project, size=event.size)
            claimed = now.claimed + event.size - (had.size if had else 0)
            return now.but(claims=now.claims.set(event.claim_id, claim), claimed=claimed)
        case PoolClaimReleased() if now is not None:
            freed = now.claims[event.claim_id].size
            return now.but(claims=now.claims.delete(event.claim_id), claimed=now.claimed - freed)
        case _:
            return RULES.evolve(now, event, subject_id)


def decide(now: Pool | None, envelope: Envelope) -> Decision:
    """Return the events and answers of a command, a job's request, or a host's report. Raises a Refusal."""
    match envelope.data:
        case CreatePool() as command:
            return RULES.decide(now, replace(envelope, data=_whole(command)))
        case DeletePool():
            _must_be_empty(RULES.alive(now, envelope))
        case DrainPool(off=off):
            changes = RULES.alive(now, envelope).draining is off
            return Decision([PoolDrained(draining=not off, at=envelope.time)] if changes else [])
        case PoolSeen() as seen:
            return Decision(_seen(now, seen, envelope) if now is not None and now.deleted is None else [])
        case ClaimInPool() as claim:
            return _claimed(RULES.alive(now, envelope), claim)
        case ReleaseInPool(reply=reply, claim_id=claim_id):
            held = now is not None and claim_id in now.claims
            events: list[Event] = [PoolClaimReleased(claim_id=claim_id)] if held else []
            return Decision(events, [reply.done("ReleasePoolSpace", PoolSpaceReleased())])
    return RULES.decide(now, envelope)


def _whole(command: CreatePool) -> CreatePool:
    """Return the command with all that its type of pool needs. Raises Invalid for what is wrong, or of another type."""
    for field in _OTHERS[command.type]:
        if value := getattr(command, field):
            raise Invalid(field=field, value=value, allowed=f"nothing, since the pool's type is {command.type}")
    if command.type is PoolType.FILE:
        _must_be_path("path", command.path, "/srv/gostack")
        return command
    whole = command.but(ceph_conf=command.ceph_conf or CEPH_CONF, ceph_user=command.ceph_user or CEPH_USER)
    _must_be_path("ceph_conf", whole.ceph_conf, CEPH_CONF)
    for field in ("ceph_pool", "ceph_user"):
        if not _CEPH_NAME.fullmatch(value := getattr(whole, field)):
            allowed = "letters, digits, and after the first of these also . _ and -"
            raise Invalid(field=field, value=value or "empty", allowed=allowed)
    return whole


def _must_be_path(field: str, path: str, example: str) -> None:
    if (
        not path.startswith("/")
        or path.startswith("//")
        or posixpath.normpath(path) != path
        or path.count("/") < 2
        or not path.isprintable()
    ):
        allowed = f"an absolute path without .. or a slash at its end, as {example}, not one at the root"
        raise Invalid(field=field, value=path or "empty", allowed=allowed)


def _seen(now: Pool, seen: PoolSeen, envelope: Envelope) -> list[Event]:
    """Return what follows from what a host found. Numbers that differ little are no event: hosts say them often."""
    events: list[Event] = []
    if not now.founder and seen.sight is PoolSight.NOT_MARKED:
        events.append(PoolFounded(host_id=seen.host_id, at=envelope.time))
    had = now.hosts.get(seen.host_id)
    if had is None or differs(had, seen):
        events.append(
            PoolHostChanged(
                host_id=seen.host_id,
                sight=seen.sight,
                capacity=seen.capacity,
                available=seen.available,
                at=envelope.time,
            )
        )
    return events


def _claimed(now: Pool, claim: ClaimInPool) -> Decision:
    """Return the claim, and the hosts that reach the pool. Raises PoolDraining, PoolNotReached, PoolFull."""
    had = now.claims.get(claim.claim_id)
    events: list[Event] = []
    if had is None or had.size != claim.size:
        if now.draining and had is None:
            raise PoolDraining(pool=now.name)
        if not now.reached_by:
            raise PoolNotReached(pool=now.name)
        if (more := claim.size - (had.size if had else 0)) > now.room:
            raise PoolFull(pool=now.name, room=max(0, now.room), size=more)
        made = PoolClaimMade(
            claim_id=claim.claim_id, holder_kind=claim.holder_kind, project=claim.project, size=claim.size
        )
        events.append(made)
    fact = PoolSpaceClaimed(pool_name=now.name, hosts=now.reached_by[:MOST_HOSTS])
    return Decision(events, [claim.reply.done("ClaimPoolSpace", fact)])


def _must_be_empty(pool: Pool) -> None:
    if pool.claims:
        holders = [f"{claim.holder_kind} {ident}" for ident, claim in sorted(pool.claims.items())]
        hint = f"All of them: gs volume list --pool {pool.name}. gs pool drain has it take nothing new."
        raise InUse(kind="Pool", id=pool.name, user=f"{len(holders)} things: {some_of(holders)}", hint=hint)


KIND = Kind(
    name="pool",
    help="Places for volumes that several hosts reach.",
    state=Pool,
    evolve=evolve,
    unique=Unique.EVERYWHERE,
    create=CreatePool,
    update=UpdatePool,
    delete=DeletePool,
    hidden=frozenset({"claims"}),
    computed=("capacity", "room"),
    shown=("type", "path", "ceph_pool", "capacity", "claimed", "room", "draining"),
)
