"""Pools: where they may be, which hosts reach them, and how much of them is held for whom."""

import pytest

from domain.core.errors import InUse, Invalid, NotFound, Refusal
from domain.core.messages import Message
from domain.jobs.pool import (
    ClaimInPool,
    PoolSeen,
    PoolSight,
    PoolSpaceClaimed,
    PoolSpaceReleased,
    PoolType,
    ReleaseInPool,
)
from domain.pool import (
    CreatePool,
    DeletePool,
    DrainPool,
    Pool,
    PoolClaimMade,
    PoolClaimReleased,
    PoolCreated,
    PoolDeleted,
    PoolDrained,
    PoolDraining,
    PoolFounded,
    PoolFull,
    PoolHostChanged,
    PoolNotReached,
    PoolUpdated,
    UpdatePool,
)
from domain.tasks.messages import Reply
from tests.harness.spec import Spec

GIB = 1 << 30
REPLY = Reply(subject="volume/v", task_id="t", dispatch_id="d", job_id="j")
CREATE = CreatePool(name="nfs", path="/srv/gostack")


def seen(
    host: str, sight: PoolSight = PoolSight.REACHED, capacity: int = 10 * GIB, available: int = 9 * GIB
) -> PoolSeen:
    return PoolSeen(host_id=host, sight=sight, capacity=capacity, available=available)


def claim(ident: str, size: int) -> ClaimInPool:
    return ClaimInPool(reply=REPLY, claim_id=ident, holder_kind="volume", project="p", size=size)


def reached(*more: Message) -> Spec:
    return Spec("pool").when(CREATE, seen("h1"), *more)


@pytest.mark.parametrize("path", ["srv", "//", "/srv", "/srv/../etc", "/srv/pool/", "//srv/pool"])
def test_a_path_that_is_none_or_everything_is_refused(path: str) -> None:
    Spec("pool").when(CreatePool(name="nfs", path=path)).refused(Invalid, field="path", value=path)


@pytest.mark.parametrize(
    ("field", "command"),
    [
        ("path", CreatePool(name="nfs")),
        ("path", CreatePool(name="ceph", type=PoolType.RBD, path="/srv/gostack", ceph_pool="vms")),
        ("ceph_pool", CreatePool(name="ceph", type=PoolType.RBD)),
        ("ceph_pool", CreatePool(name="ceph", type=PoolType.RBD, ceph_pool="a/b")),
        ("ceph_pool", CreatePool(name="ceph", type=PoolType.RBD, ceph_pool="-a")),
        ("ceph_user", CreatePool(name="ceph", type=PoolType.RBD, ceph_pool="vms", ceph_user="a:b")),
        ("ceph_conf", CreatePool(name="ceph", type=PoolType.RBD, ceph_pool="vms", ceph_conf="ceph.conf")),
        ("ceph_conf", CreatePool(name="ceph", type=PoolType.RBD, ceph_pool="vms", ceph_conf="/etc/../ceph.conf")),
        ("ceph_pool", CreatePool(name="nfs", path="/srv/gostack", ceph_pool="vms")),
        ("ceph_conf", CreatePool(name="nfs", path="/srv/gostack", ceph_conf="/etc/ceph/ceph.conf")),
        ("ceph_user", CreatePool(name="nfs", path="/srv/gostack", ceph_user="gostack")),
    ],
)
def test_what_a_type_of_pool_lacks_or_has_no_use_for_is_refused(field: str, command: CreatePool) -> None:
    Spec("pool").when(command).refused(Invalid, field=field)


def test_a_pool_in_ceph_has_what_is_usual_where_nothing_else_is_said() -> None:
    spec = Spec("pool").when(CreatePool(name="ceph", type=PoolType.RBD, ceph_pool="vms")).then(PoolCreated)
    found = spec.state
    assert (found.type, found.path, found.ceph_pool) == ("rbd", "", "vms")
    assert (found.ceph_conf, found.ceph_user) == ("/etc/ceph/ceph.conf", "gostack")
    other = CreatePool(name="b", type=PoolType.RBD, ceph_pool="b.1", ceph_conf="/srv/b/b.conf", ceph_user="vm_s")
    found = Spec("pool").when(other).state
    assert (found.ceph_pool, found.ceph_conf, found.ceph_user) == ("b.1", "/srv/b/b.conf", "vm_s")


def test_the_first_host_that_finds_the_directory_is_to_found_it_and_no_other() -> None:
    spec = Spec("pool").when(CREATE, seen("h1", PoolSight.NOT_THERE, 0, 0)).then(PoolHostChanged)
    spec.when(seen("h2", PoolSight.NOT_MARKED, 0, 0)).then(PoolFounded, PoolHostChanged)
    spec.when(seen("h3", PoolSight.NOT_MARKED, 0, 0)).then(PoolHostChanged)
    pool: Pool = spec.state
    assert (pool.founder, pool.reached_by, pool.capacity) == ("h2", (), 0)
    spec.when(seen("h2")).then(PoolHostChanged)
    assert (spec.state.reached_by, spec.state.capacity) == (("h2",), 10 * GIB)


def test_a_size_or_free_space_that_differs_little_is_no_event() -> None:
    spec = reached()
    spec.when(seen("h1", available=9 * GIB - GIB // 4)).then()
    spec.when(seen("h1", available=8 * GIB)).then(PoolHostChanged)
    spec.when(seen("h1", capacity=11 * GIB, available=8 * GIB)).then(PoolHostChanged)
    for size in (11 * GIB + GIB // 16, 11 * GIB - GIB // 16):
        spec.when(seen("h1", capacity=size, available=8 * GIB)).then()
    spec.when(seen("h1", capacity=11 * GIB + GIB // 8, available=8 * GIB)).then(PoolHostChanged)
    spec.when(seen("h1", PoolSight.NO_ANSWER, 0, 0)).then(PoolHostChanged)


def test_of_hosts_that_disagree_the_smallest_size_counts() -> None:
    assert reached(seen("h2", capacity=4 * GIB, available=GIB)).state.room == 4 * GIB


def test_space_is_held_once_for_each_and_given_back_once() -> None:
    spec = (
        reached()
        .when(claim("v1", 6 * GIB))
        .then(PoolClaimMade(claim_id="v1", holder_kind="volume", project="p", size=6 * GIB))
    )
    assert spec.answered() == PoolSpaceClaimed(pool_name="nfs", hosts=("h1",))
    spec.when(claim("v1", 6 * GIB)).then()
    assert spec.answered() == PoolSpaceClaimed(pool_name="nfs", hosts=("h1",))
    assert (spec.state.claimed, spec.state.room) == (6 * GIB, 4 * GIB)
    spec.when(claim("v2", 4 * GIB + 1)).refused(PoolFull, pool="nfs", room=4 * GIB, size=4 * GIB + 1)
    spec.when(claim("v2", 4 * GIB)).then(PoolClaimMade)
    spec.when(ReleaseInPool(reply=REPLY, claim_id="v1")).then(PoolClaimReleased(claim_id="v1"))
    spec.when(ReleaseInPool(reply=REPLY, claim_id="v1")).then()
    assert spec.answered() == PoolSpaceReleased()
    assert (spec.state.claimed, spec.state.room) == (4 * GIB, 6 * GIB)


def test_a_claim_may_grow_by_what_there_is_room_for() -> None:
    spec = reached(claim("v1", 6 * GIB))
    spec.when(claim("v1", 11 * GIB)).refused(PoolFull, size=5 * GIB, room=4 * GIB)
    spec.when(claim("v1", 10 * GIB)).then(PoolClaimMade)
    assert spec.state.claimed == 10 * GIB


def test_reserve_and_overcommit_count() -> None:
    spec = reached(UpdatePool(reserved=2 * GIB, ratio=1.5))
    assert spec.state.room == 13 * GIB
    spec.when(UpdatePool(reserved=2 * GIB)).then()
    spec.when(UpdatePool(ratio=1.0)).then(PoolUpdated)
    assert spec.state.room == 8 * GIB


@pytest.mark.parametrize(
    ("before", "refusal"),
    [
        ((CREATE,), PoolNotReached),
        ((CREATE, seen("h1"), DrainPool()), PoolDraining),
        ((CREATE, DeletePool()), NotFound),
    ],
)
def test_what_takes_nothing_says_why(before: tuple[Message, ...], refusal: type[Refusal]) -> None:
    Spec("pool").when(*before).when(claim("v1", GIB)).refused(refusal)


def test_what_is_in_a_drained_pool_stays_and_may_grow() -> None:
    spec = reached(claim("v1", GIB)).when(DrainPool()).then(PoolDrained)
    spec.when(DrainPool()).then()
    spec.when(claim("v1", 2 * GIB)).then(PoolClaimMade)
    spec.when(DrainPool(off=True)).then(PoolDrained)
    spec.when(claim("v2", GIB)).then(PoolClaimMade)


def test_it_is_deleted_when_it_holds_nothing() -> None:
    spec = reached(claim("v1", GIB))
    assert "volume v1" in str(spec.when(DeletePool()).refused(InUse))
    spec.when(ReleaseInPool(reply=REPLY, claim_id="v1")).when(DeletePool()).then(PoolDeleted)
    spec.when(seen("h2")).then()
    spec.when(ReleaseInPool(reply=REPLY, claim_id="v1")).then()
