"""Real Kafka and PostgreSQL for tests: containers where a Docker daemon answers, else the local cluster's own code,
with fresh ports and data directories."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.local.ceph import Ceph
from infra.local.kafka import Kafka
from infra.local.postgres import Postgres
from infra.local.progress import ProgressLine
from infra.local.setup import CEPH, system_packages

SHARED_MEMORY = Path("/dev/shm")
ROOM = 8 << 30
"""Bytes that must be free there: several clusters run at once, and each fills a few hundred MiB."""


@dataclass(frozen=True)
class Servers:
    """Where they answer."""

    bootstrap: str
    dsn: str


def docker_answers() -> bool:
    """A Docker daemon is there and wanted: GOSTACK_TEST_CONTAINERS=0 says that none is, and 1 that one must answer."""
    wanted = os.environ.get("GOSTACK_TEST_CONTAINERS")
    there = "DOCKER_HOST" in os.environ or Path("/var/run/docker.sock").exists()
    if wanted == "0" or not (there or wanted == "1"):
        return False
    import docker
    from docker.errors import DockerException

    try:
        with contextlib.closing(docker.from_env(timeout=10)) as client:
            return bool(client.ping())
    except DockerException:
        if wanted == "1":
            raise
        return False


def ceph_packages() -> None:
    """Install what Ceph needs where it is missing. Raises Failure where that cannot be."""
    # One that installs keeps others from trying to.
    with (Path(tempfile.gettempdir()) / "gostack-packages.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        system_packages(ProgressLine(), CEPH)


@contextlib.contextmanager
def ceph(address: str, pool: str) -> Iterator[Ceph]:
    """A Ceph with an empty pool, on disk."""
    with contextlib.ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="gostack-ceph-"))
        directory.chmod(0o755)
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        cluster = stack.enter_context(Ceph(directory / "ceph", address))
        cluster.make_pool(pool)
        yield cluster


@contextlib.contextmanager
def servers(brief: bool = True) -> Iterator[Servers]:
    """Start both, and stop them at the end; `brief`: Kafka is run as one that lives for minutes (Kafka)."""
    with contextlib.ExitStack() as stack:
        if docker_answers():
            from tests import containers

            yield Servers(*containers.start(stack))
            return
        directory = scratch(stack)
        broker = stack.enter_context(Kafka(directory / "kafka", brief=brief))
        database = stack.enter_context(Postgres(directory / "postgres"))
        yield Servers(broker.address, database.dsn)


def scratch(stack: contextlib.ExitStack) -> Path:
    """A directory that the servers' own user can reach, removed at the end.

    In memory where there is room: no test ends the power of the machine, so that what fsync waits for proves nothing,
    while a slow disk under several clusters at once makes each restart of Kafka take minutes.
    """
    roomy = SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free >= ROOM
    path = Path(tempfile.mkdtemp(prefix="gostack-test-", dir=SHARED_MEMORY if roomy else "/tmp"))
    path.chmod(0o755)
    stack.callback(shutil.rmtree, path, ignore_errors=True)
    return path
