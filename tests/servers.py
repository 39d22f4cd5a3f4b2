"""Real Kafka and PostgreSQL for tests: containers where a Docker daemon answers, else the local cluster's own code,
with fresh ports and data directories."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.local.kafka import Kafka
from infra.local.postgres import Postgres


@dataclass(frozen=True)
class Servers:
    """Where they answer."""

    bootstrap: str
    dsn: str


def docker_answers() -> bool:
    """A Docker daemon is there and wanted (GOSTACK_TEST_CONTAINERS=0 says no)."""
    socket = Path("/var/run/docker.sock")
    if os.environ.get("GOSTACK_TEST_CONTAINERS") == "0" or not ("DOCKER_HOST" in os.environ or socket.exists()):
        return False
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=3)
    except DockerException:
        return False
    try:
        return bool(client.ping())
    except DockerException:
        return False
    finally:
        client.close()


@contextlib.contextmanager
def servers() -> Iterator[Servers]:
    """Start both, and stop them at the end."""
    with contextlib.ExitStack() as stack:
        if docker_answers():
            from testcontainers.kafka import KafkaContainer
            from testcontainers.postgres import PostgresContainer

            kafka = stack.enter_context(KafkaContainer().with_kraft())
            postgres = stack.enter_context(PostgresContainer("postgres:15-alpine", driver=None))
            yield Servers(kafka.get_bootstrap_server(), postgres.get_connection_url())
            return
        directory = scratch(stack)
        broker = stack.enter_context(Kafka(directory / "kafka"))
        database = stack.enter_context(Postgres(directory / "postgres"))
        yield Servers(broker.address, database.dsn)


def scratch(stack: contextlib.ExitStack) -> Path:
    """A directory that the servers' own user can reach, removed at the end."""
    path = Path(tempfile.mkdtemp(prefix="gostack-test-", dir="/tmp"))
    path.chmod(0o755)
    stack.callback(shutil.rmtree, path, ignore_errors=True)
    return path
