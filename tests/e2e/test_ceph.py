"""The local cluster with a Ceph: a volume in a pool of it, which goes from one host's guest to another's."""

import subprocess
import uuid
from functools import partial

import pytest

from infra.local.cluster import CEPH_POOL
from tests.e2e.conftest import PROJECT, User, local
from tests.e2e.test_guests import boot

pytestmark = pytest.mark.e2e

SIZE = 64 << 20


def images() -> list[str]:
    """The images in the Ceph pool."""
    conf = PROJECT / ".gostack" / "ceph" / "ceph.conf"
    listed = subprocess.run(
        ["rbd", "-c", str(conf), "ls", CEPH_POOL], capture_output=True, text=True, timeout=60, check=True
    )
    return listed.stdout.split()


def sees(user: User, guest: str, disk: str) -> bool:
    """Whether the guest has said that it has such a disk."""
    return disk in user.console(guest)


def test_a_volume_on_ceph_goes_from_host_to_host(user: User) -> None:
    local("demo", "--hosts", "2", "--ceph")
    shown = user.read("pool", "show", "ceph")
    assert (shown["type"], [each["sight"] for each in shown["hosts"].values()]) == ("rbd", ["reached", "reached"])
    assert [each["name"] for each in user.read("instance", "show", "demo-1")["volumes"]] == ["demo-data"]
    demo = user.read("volume", "show", "demo-data")
    run = uuid.uuid4().hex[:6]
    name, guests = f"data-{run}", {f"on-{host}-{run}": host for host in ("host1", "host2")}
    for guest, host in guests.items():
        boot(user, guest, "--host", host)
    for guest in guests:
        user.wait_ready(guest)
    user.gs("volume", "create", "--name", name, "--size", f"{SIZE}", "--pool", "ceph")
    volume = user.read("volume", "show", name)
    assert set(images()) == {demo["id"], volume["id"]}
    serial = volume["id"].replace("-", "")[:20]
    for guest, size in zip(guests, (SIZE, 2 * SIZE), strict=True):
        user.gs("instance", "attach-volume", guest, "--volume-id", name)
        has = partial(sees, user, guest, f"bytes={size} serial={serial}")
        user.wait("the guest has it", has)
        user.gs("instance", "detach-volume", guest, "--volume-id", name)
        user.gs("volume", "extend", name, "--size", f"{2 * SIZE}")
    for guest in guests:
        user.gs("instance", "delete", "--hard", guest)
    user.gs("volume", "delete", name)
    assert images() == [demo["id"]]
