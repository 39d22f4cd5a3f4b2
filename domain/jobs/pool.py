"""Jobs for space in a pool, and what hosts say of pools."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from domain.core.fields import PLAIN
from domain.core.messages import Command, Key, Message, Model
from domain.tasks.job import AggregateJob, Fact, Where
from domain.tasks.messages import Reply
from domain.tasks.task import Task


class PoolType(StrEnum):
    """The way in which a pool keeps its volumes."""

    FILE = "file"
    """Files in a directory that the hosts share."""
    RBD = "rbd"
    """Images in a pool of a Ceph cluster (RADOS block devices)."""


class PoolSight(StrEnum):
    """State of a pool, as a host finds it."""

    REACHED = "reached"
    """The pool's directory or Ceph pool, with its id in it."""
    NOT_THERE = "not-there"
    """There is no such directory, or the Ceph cluster has no such pool."""
    NOT_MARKED = "not-marked"
    """The directory or Ceph pool, without the pool's id in it: most likely the file system is not mounted."""
    OF_ANOTHER = "of-another"
    """The directory or Ceph pool of another pool."""
    NO_ANSWER = "no-answer"
    """The storage does not answer within seconds."""
    NOT_EQUIPPED = "not-equipped"
    """The host lacks what it needs to ask: Ceph's library for Python, the configuration, or the user's keyring."""
    DENIED = "denied"
    """The Ceph cluster does not let the user in, or does not let it read the pool."""


class PoolPlace(Model):
    """A pool as hosts have to know it."""

    id: str
    name: Annotated[str, PLAIN]
    type: PoolType = PoolType.FILE
    path: Annotated[str, PLAIN] = ""
    """Absolute path of the pool's directory; empty where the type is rbd."""
    ceph_pool: Annotated[str, PLAIN] = ""
    """Name of the pool in the Ceph cluster; empty unless the type is rbd, as all that is Ceph's."""
    ceph_conf: Annotated[str, PLAIN] = ""
    """Absolute path of the Ceph cluster's configuration on every host; the user's keyring is beside it."""
    ceph_user: Annotated[str, PLAIN] = ""
    """Name of the Ceph user, without "client."."""
    founder: str = ""
    """Id of the host that writes the pool's id into the directory or Ceph pool."""


class PoolSpace(Model):
    """Space of a pool, as a host finds it."""

    sight: PoolSight
    capacity: int = 0
    """Bytes that the pool can hold: the size of the file system, or what the Ceph pool has and can still take."""
    available: int = 0
    """Free space for the pool, in bytes."""


class PoolOnHost(PoolSpace):
    """Space of one pool, as a host finds it."""

    id: str


def differs(before: PoolSpace, now: PoolSpace) -> bool:
    """Return whether a host finds a pool differently enough from before to say so: hosts look every few seconds.

    That is a size that differs by more than a hundredth, or free space that differs by more than a twentieth of the
    size. Of storage that pools share, such as Ceph's and ZFS's, both change with every byte that others write.
    """
    return (
        before.sight is not now.sight
        or abs(before.capacity - now.capacity) * 100 > now.capacity
        or abs(before.available - now.available) * 20 > now.capacity
    )


class PoolSeen(Message, PoolSpace):
    """A host says what it finds where the pool should be."""

    kind = "pool"

    host_id: str


class ClaimInPool(Command):
    """Hold so much space of the pool for something, which may hold another amount already."""

    kind = "pool"

    reply: Reply
    claim_id: str
    """Id of what holds it."""
    holder_kind: str
    project: str
    size: int


class ReleaseInPool(Command):
    """Give back the space of the pool that something holds."""

    kind = "pool"

    reply: Reply
    claim_id: str


class _PoolClaimJob(AggregateJob):
    """A job that changes how much the aggregate holds of a pool's space."""

    abstract = True
    deadline = 30.0
    attempts = 3

    pool_id: str

    def _hold(self, subject: Any, reply: Reply, size: int) -> tuple[Key, Message]:
        command = ClaimInPool(
            reply=reply, claim_id=subject.id, holder_kind=reply.key.kind, project=subject.project, size=size
        )
        return Key("pool", self.pool_id), command


class ClaimPoolSpace(_PoolClaimJob):
    """Hold space of a pool for the aggregate: refused where there is not enough, or where no host reaches the pool."""

    size: int
    """Space to hold, in bytes."""

    def message(self, subject: Any, task: Task, reply: Reply, where: Where) -> tuple[Key, Message]:
        """Return the request to the pool."""
        return self._hold(subject, reply, self.size)


class ReleasePoolSpace(AggregateJob):
    """Give back the space of a pool that the aggregate holds; one that holds none is success."""

    deadline = 30.0
    attempts = 5

    pool_id: str

    def message(self, subject: Any, task: Task, reply: Reply, where: Where) -> tuple[Key, Message]:
        """Return the request to the pool."""
        return Key("pool", self.pool_id), ReleaseInPool(reply=reply, claim_id=subject.id)


class ResizePoolClaim(_PoolClaimJob):
    """Hold another amount of a pool's space for the aggregate: refused where there is not enough."""

    before: int
    """Bytes that are held before the step."""
    after: int
    """Bytes that are held after it."""

    def message(self, subject: Any, task: Task, reply: Reply, where: Where) -> tuple[Key, Message]:
        """Return the request to the pool."""
        return self._hold(subject, reply, self.after)


class RestorePoolClaim(ResizePoolClaim):
    """Hold as much of a pool's space for the aggregate as before it was resized."""

    attempts = 5

    def message(self, subject: Any, task: Task, reply: Reply, where: Where) -> tuple[Key, Message]:
        """Return the request to the pool."""
        return self._hold(subject, reply, self.before)


class PoolSpaceClaimed(Fact):
    """The space is held; these hosts reach the pool."""

    fact: Literal["pool-space-claimed"] = "pool-space-claimed"
    pool_name: Annotated[str, PLAIN]
    hosts: tuple[str, ...]

    def apply(self, subject: Any, where: Where) -> Any:
        """Return the aggregate, which is in the pool now."""
        return subject.in_pool(self.pool_name, self.hosts)


class PoolSpaceReleased(Fact):
    """The space is given back."""

    fact: Literal["pool-space-released"] = "pool-space-released"

    def apply(self, subject: Any, where: Where) -> Any:
        """Return the aggregate as it is."""
        return subject
