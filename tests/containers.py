"""The servers of tests as containers: theirs as testcontainers knows them, with the settings of the local cluster."""

import contextlib

import docker
from docker.errors import DockerException, ImageNotFound
from testcontainers.community.kafka import KafkaContainer
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.config import testcontainers_config

from infra.local.containers import KAFKA_IMAGE, POSTGRES_IMAGE
from infra.local.kafka import ONE_BROKER

START_TIMEOUT = 120


def start(stack: contextlib.ExitStack) -> tuple[str, str]:
    """Start both, to be removed with `stack`, and return the broker's address and the database's connection string."""
    testcontainers_config.ryuk_disabled = testcontainers_config.ryuk_disabled or not reaper_can_be_had()
    settings = {f"KAFKA_{name.replace('.', '_').upper()}": value for name, value in ONE_BROKER.items()}
    kafka = KafkaContainer(KAFKA_IMAGE).with_kraft().with_envs(**settings)
    stack.callback(kafka.stop)
    kafka.start(START_TIMEOUT)
    postgres = stack.enter_context(PostgresContainer(POSTGRES_IMAGE, driver=None))
    return kafka.get_bootstrap_server(), postgres.get_connection_url()


def reaper_can_be_had() -> bool:
    """Return whether the image is there, or can be pulled, whose container removes what a killed test leaves."""
    client = docker.from_env()
    try:
        client.images.get(testcontainers_config.ryuk_image)
    except ImageNotFound:
        try:
            client.images.pull(testcontainers_config.ryuk_image)
        except DockerException:
            return False
    finally:
        client.close()
    return True
