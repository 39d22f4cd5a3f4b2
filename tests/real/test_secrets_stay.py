"""Secrets stay where they belong: planted by good and bad requests, they are looked for in everything that real
processes leave behind: logs, topics, tables, files, command lines, traces."""

import asyncio
import base64
import contextlib
import fnmatch
import re
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import sql

from domain.core.messages import Topic
from infra.log.kafka import KafkaLog
from infra.log.records import records
from tests.harness.collector import receiving
from tests.real.cluster import Cluster, running
from tests.real.test_crashes import prepare

pytestmark = pytest.mark.real

PASSWORD = "S3cretPasswordOfTheGuest"
USER_DATA = "S3cretUserDataOfTheGuest"
WRONG = "S3cretOfARefusedRequest"
USERINFO = "S3cretInAnUrlsUserinfo"
CREDENTIALS = "S3cretOfAStrangersToken0123456789"
PATIENCE = 180.0

MAY_HOLD = {
    "secrets/key": {"encryption key"},
    "secrets/token": {"token of API and agents"},
    "postgres/password": {"database password"},
    # What a simulated host has in place of a guest's config drive and of the metadata service's documents.
    "agent/sim.guests*": {"password", "password that was made", "user data"},
}
"""The only files that may hold a secret, and which: nobody else may read one of them."""

SURROGATE = r"\ud800"
REFUSED = (
    f'{{"name": "a{SURROGATE}", "image": "tiny", "flavor": "small", "password": "{WRONG}"}}',
    f'{{"name": "a{SURROGATE}", "user_data": "{WRONG}"}}',
    f'{{"name": "a", "image": "tiny", "flavor": "small", "description": "{SURROGATE}", "password": "{WRONG}"}}',
    f'{{"name": "a", "image": "tiny", "flavor": "small", "zone": "\\u0000", "password": "{WRONG}"}}',
    f'{{"name": "a", "passwrod": "{WRONG}", "user-data": "{WRONG}"}}',
    f'{{"name": "a", "password": ["{WRONG}"], "user_data": {{"x": "{WRONG}"}}}}',
    f'{{"name": "a", "image": "none", "flavor": "small", "password": "{WRONG}"}}',
    f'{{"name": "a", "volume_size": NaN, "password": "{WRONG}"}}',
    f'{{"name": "a", "volume_size": 1{"0" * 400}, "password": "{WRONG}"}}',
    f'["{WRONG}"]',
    f'{{"password": "{WRONG}", "user_data": "{WRONG}"',
)
"""Boots that are refused or cannot be taken, with secrets in them."""


@dataclass
class Planted:
    """Every secret by what it is, as it is searched for."""

    secrets: dict[str, str] = field(default_factory=dict)

    def add(self, what: str, secret: str) -> None:
        assert len(secret) >= 8, what
        self.secrets[what] = secret

    def found_in(self, content: bytes) -> set[str]:
        """Which of them stand in this, in the clear or in a form that anybody can read."""
        return {what for what, secret in self.secrets.items() if any(form in content for form in _forms(secret))}


def _forms(secret: str) -> list[bytes]:
    clear = secret.encode()
    # Base64 depends on where a text begins in what is encoded; its first and last characters on what is around it.
    shifted = [base64.b64encode(b"\0" * shift + clear)[4:-4] for shift in range(3)]
    return [clear, clear.hex().encode(), *(each for each in shifted if len(each) >= 8)]


class CommandLines:
    """The command line of every process that runs meanwhile on this machine."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._over.wait(0.05):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    self.seen.add(path.read_bytes())

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Look until the block ends."""
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._thread.join()


def _good(api: httpx.Client, cluster: Cluster, planted: Planted) -> None:
    """What users do who do it right."""
    wanted = {"flavor": "small", "image": "tiny", "network": "lan"}
    bodies: list[dict[str, Any]] = [
        {"name": "told", "password": PASSWORD, "user_data": USER_DATA},
        {"name": "by-service", "password": PASSWORD, "user_data": USER_DATA, "config_drive": False},
        {"name": "made"},
    ]
    for body in bodies:
        for _ in range(2):
            answer = api.post("/instances", json={**wanted, **body}, headers={"Idempotency-Key": str(body["name"])})
            assert answer.status_code == 202, answer.text
            if made := answer.json().get("admin_password"):
                planted.add("password that was made", made)
    assert "password that was made" in planted.secrets
    names = {body["name"] for body in bodies}

    def active() -> bool:
        found = api.get("/instances").json()["instances"]
        return {each["name"] for each in found if each["status"] == "active"} == names

    cluster.wait("all are active", active, PATIENCE)
    planted.add("password of a display", api.post("/instances/told/vnc").raise_for_status().json()["password"])
    for verb in ("stop", "start", "hard-reboot"):
        task = api.post(f"/instances/told/actions/{verb}").raise_for_status().json()["task_id"]
        # Read models that are behind show no task either.
        shown = partial(api.get, "/instances/told", params={"after": task})
        cluster.wait(f"{verb} is done", lambda shown=shown: shown().json()["task"] is None, PATIENCE)
    pair = api.post("/keypairs", json={"name": "pair"}).raise_for_status().json()
    planted.add("private key", pair["private_key"].splitlines()[2])
    hook = {"name": "hook", "url": "http://127.0.0.1:9/hook"}
    planted.add("secret of a webhook", _key(api.post("/webhooks", json=hook)))
    planted.add("later secret of a webhook", _key(api.patch("/webhooks/hook", json={"new_secret": True})))
    assert api.post("/webhooks/hook/test").status_code < 500


def _key(answer: httpx.Response) -> str:
    return str(answer.raise_for_status().json()["secret"]).removeprefix("whsec_")


def _bad(api: httpx.Client, cluster: Cluster) -> None:
    """What users and strangers send that is wrong."""
    for number, body in enumerate(REFUSED):
        for headers in ({}, {"Idempotency-Key": f"refused-{number}"}):
            sent = {"Content-Type": "application/json", **headers}
            assert api.post("/instances", content=body.encode(), headers=sent).status_code >= 400, body
    url = f"http://user:{USERINFO}@hook.example/"
    assert api.post("/webhooks", json={"name": "other", "url": url}).status_code == 422
    assert api.patch("/webhooks/hook", json={"url": url}).status_code == 422
    assert api.post("/keypairs", json={"name": "bad", "private_key": WRONG}).status_code == 422
    inside = f"http://127.0.0.1:{cluster.environment['GOSTACK_API__HOSTS_PORT']}"
    stranger = {"Authorization": f"Bearer {CREDENTIALS}"}
    assert httpx.get(f"{inside}/internal/v1/secrets/x", headers=stranger).status_code == 401


async def _topics(bootstrap: str) -> dict[str, bytes]:
    log = KafkaLog(bootstrap)
    try:
        return {
            f"topic {topic}": b"\n".join(
                [
                    part
                    async for record in records(log, topic)
                    for part in (record.key, record.value, *(value or b"" for _, value in record.headers))
                ]
            )
            for topic in Topic
        }
    finally:
        await log.close()


def _tables(dsn: str) -> dict[str, bytes]:
    with psycopg.connect(dsn) as database:
        names = database.execute(
            "select table_schema, table_name from information_schema.tables where table_type = 'BASE TABLE'"
            " and table_schema not in ('information_schema', 'pg_catalog')"
        ).fetchall()
        assert any(name == "secrets" for _, name in names)
        found = {}
        for schema, name in names:
            rows = database.execute(sql.SQL("select t::text from {} t").format(sql.Identifier(schema, name)))
            found[f"table {schema}.{name}"] = "\n".join(text for (text,) in rows).encode()
        return found


def _files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_no_secret_is_where_it_does_not_belong() -> None:
    planted, lines = Planted(), CommandLines()
    for what, secret in {
        "password": PASSWORD,
        "user data": USER_DATA,
        "secret of a refused request": WRONG,
        "password in a URL": USERINFO,
        "token of a stranger": CREDENTIALS,
    }.items():
        planted.add(what, secret)
    with receiving() as collector:
        settings = {
            "GOSTACK_LOG__LEVEL": "debug",
            "GOSTACK_AGENT__KEEP_GUESTS": "true",
            "GOSTACK_WEBHOOKS__ALLOW_PRIVATE": "true",
            "GOSTACK_WEBHOOKS__FIRST_PAUSE": "0.2",
            "GOSTACK_TRACES__ENDPOINT": collector.url,
            # An operator's setting with credentials in it, which nobody needs here.
            "GOSTACK_AGENT__LIBVIRT_URI": f"qemu+tls://user:{USERINFO}@host.example/system",
        }
        with running(1, settings, patience=PATIENCE) as cluster, lines.watched():
            planted.add("encryption key", (cluster.directory / "secrets" / "key").read_text())
            planted.add("token of API and agents", (cluster.directory / "secrets" / "token").read_text())
            planted.add("database password", cluster.postgres.password_file.read_text().strip())
            prepare(cluster)
            # On a busy machine a connection that is kept may be closed by the server while the next request is sent.
            closing = {"Connection": "close"}
            with httpx.Client(base_url=f"{cluster.url}/v1", timeout=PATIENCE, headers=closing) as api:
                _good(api, cluster, planted)
                _bad(api, cluster)
                shown = api.get("/config").content
            cluster.check(PATIENCE)
            # The failed deliveries, and what they led to, are written by now as well.
            time.sleep(1)
            there = {**asyncio.run(_topics(cluster.kafka.address)), **_tables(cluster.postgres.dsn)}
            for process in cluster.processes.values():
                process.stop()
            there |= _files(cluster.directory)
            there |= {"settings shown": shown, "command lines": b"\n".join(lines.seen)}
            there |= {f"traces {number}": body for number, body in enumerate(collector.bodies)}
            holders = {
                place: found for place, content in there.items() if (found := planted.found_in(content)) is not None
            }
            wrong = {
                place: found
                for place, each in holders.items()
                if (found := each.difference(*(may for name, may in MAY_HOLD.items() if fnmatch.fnmatch(place, name))))
            }
            assert wrong == {}
            # That they are found where they may be shows that they are found.
            assert set().union(*holders.values()) == set().union(*MAY_HOLD.values())
            for pattern in MAY_HOLD:
                for path in cluster.directory.glob(pattern):
                    assert not stat.S_IMODE(path.stat().st_mode) & stat.S_IRWXO, path
            logged = b"".join(content for place, content in there.items() if place.endswith(".log"))
            assert re.search(rb"was refused|there is no such|answered 422", logged)
            assert all(there[f"topic {topic}"] for topic in (Topic.COMMANDS, Topic.EVENTS, Topic.JOBS, Topic.RESULTS))
            assert collector.bodies
