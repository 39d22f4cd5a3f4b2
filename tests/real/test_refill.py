"""The database is lost and filled again from the log, by the commands of docs/operations.md; everything goes on."""

import httpx
import psycopg
import pytest

from tests.harness.receiver import is_signed
from tests.real.cluster import SERVICES, Cluster, Process, running
from tests.real.page import done, gs, run, steps
from tests.real.test_crashes import boot, instances, prepare
from tests.real.test_webhooks import Endpoint, listening

pytestmark = pytest.mark.real

BOOTS = 5
PAGE = "PostgreSQL is lost"
SETTINGS = {"GOSTACK_WEBHOOKS__ALLOW_PRIVATE": "true", "GOSTACK_WEBHOOKS__FIRST_PAUSE": "0.2"}


def active(cluster: Cluster, count: int) -> None:
    def all_run() -> bool:
        return [each["status"] for each in instances(cluster.url)] == ["active"] * count

    cluster.wait(f"{count} instances are active", all_run)


def refuses_to_begin(cluster: Cluster) -> None:
    """What an engine does on the empty database, and where it says why."""
    engine = run(cluster, "gostack engine")
    assert engine.returncode == 1, engine.stdout + engine.stderr
    assert "Fill the database from the log first: gostack db refill" in engine.stderr
    assert "Traceback" not in engine.stderr


def flavor(cluster: Cluster, name: str) -> None:
    httpx.post(f"{cluster.url}/v1/flavors", json={"name": name, "core": 1, "memory": 1 << 27}).raise_for_status()


def told(endpoint: Endpoint) -> list[str]:
    return [event["data"]["name"] for event in endpoint.events()]


def test_a_lost_database_is_filled_from_the_log() -> None:
    with running(2, SETTINGS) as cluster, listening() as (url, endpoint):
        prepare(cluster)
        made = gs(cluster, "webhook", "create", "hook", "--url", url, "--type", "flavor.created.*")
        flavor(cluster, "told")
        cluster.wait("the webhook is told", lambda: told(endpoint) == ["told"])
        cluster.wait("it is known", lambda: gs(cluster, "webhook", "show", "hook")["delivery"]["delivered"] == 1)
        position = gs(cluster, "webhook", "show", "hook")["delivery"]["position"]
        for number in range(BOOTS):
            boot(cluster.url, f"before-{number}")
        active(cluster, BOOTS)
        stopped = [name for name in SERVICES if name != "agent"]
        for name in reversed(stopped):
            cluster.processes[name].stop()
        server, _, database = cluster.postgres.dsn.rpartition("/")
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            connection.execute(f"drop database {database} with (force)".encode())
            connection.execute(f"create database {database}".encode())
        for line in steps(PAGE):
            if line == "gostack db refill":
                refuses_to_begin(cluster)
            done(cluster, line)
        again = run(cluster, "gostack db refill")
        assert (again.returncode, "not empty" in again.stderr) == (1, True), again.stderr
        for name in stopped:
            cluster.processes[name] = Process(
                name, cluster.processes[name].environment, cluster.directory / f"{name}.log"
            )
        cluster.wait_for_hosts()
        for number in range(BOOTS):
            boot(cluster.url, f"after-{number}")
        active(cluster, 2 * BOOTS)
        cluster.check()
        is_told_again(cluster, endpoint, position, made["secret"])
        cluster.check()


def is_told_again(cluster: Cluster, endpoint: Endpoint, position: str, secret: str) -> None:
    """The webhook, from where it is asked to; then, with a second call, from its beginning."""
    cluster.wait("it is disabled", lambda: gs(cluster, "webhook", "show", "hook")["status"] == "disabled")
    assert "its secret is lost" in gs(cluster, "webhook", "show", "hook")["reason"]
    flavor(cluster, "later")
    assert told(endpoint) == ["told"]
    update, retry = ([*line.replace("NAME", "hook").split()[1:]] for line in steps(PAGE, 1))
    renewed = gs(cluster, *update)["secret"]
    assert renewed != secret
    gs(cluster, *retry[:-2], "--from", position)
    cluster.wait("it is told what came since", lambda: told(endpoint) == ["told", "later"])
    headers, body = endpoint.taken[-1]
    assert is_signed(renewed, headers, body)
    gs(cluster, *" ".join(retry).replace("WHEN", "1h").split())
    # The flavor that was there before the webhook, too.
    cluster.wait("it is told all of that hour", lambda: sorted(told(endpoint)[2:]) == ["later", "small", "told"])
    ids = [event["id"] for event in endpoint.events()]
    assert len(set(ids)) == 3
