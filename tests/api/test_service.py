"""The service about itself, and what it is to hosts' agents."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from api.hosts.agent_api import create_internal_app
from api.serve import raise_segments
from api.writes.secret_sweep import NEVER_BOOTED, SETTLED, sweep
from domain.core.messages import Record
from domain.host.messages import SuspectHost
from domain.jobs.pool import PoolPlace
from infra.log.durability import Durability, Replication
from infra.log.log import LogUnavailable
from projections.store.port import StoreUnavailable
from tests.api.api import TOKEN, Api
from tests.harness.agents import host_key
from tests.harness.nonsense import NONSENSE


async def test_alive_and_ready(empty: Api) -> None:
    assert (await empty.http.get("/healthz")).json() == {"status": "ok"}
    await empty.world.settle()
    ready = await empty.http.get("/readyz")
    assert ready.json() == {
        "status": "ready",
        "log": "ok",
        "database": "ok",
        "lag": 0,
        "lag_seconds": 0.0,
        "waiting": {"engine": 0, "scheduler": 0},
        "waiting_seconds": {"engine": 0.0, "scheduler": 0.0},
        "durability": {
            "brokers": 1,
            "replicas": 1,
            "min_insync": 1,
            "in_sync": 1,
            "may_be_away": 0,
            "may_be_lost": 0,
            "summary": "1 replica on 1 broker: a record is lost with the disk of its broker, and none is taken while "
            "that broker is away",
        },
        "problems": [],
    }


async def test_readiness_tells_how_durable_the_log_is(empty: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await empty.world.settle()
    empty.world.log.pretends = Durability.of({"events": Replication(3, 2, 3), "jobs": Replication(3, 2, 3)}, brokers=3)
    told = (await empty.http.get("/readyz")).json()["durability"]
    assert (told["replicas"], told["may_be_away"], told["may_be_lost"]) == (3, 1, 1)
    empty.world.log.pretends = Durability.of({"events": Replication(1, 2, 1)}, brokers=3)
    low = await empty.http.get("/readyz")
    assert (low.status_code, low.json()["durability"]["may_be_away"]) == (200, -1)

    async def not_allowed() -> None:
        raise LogUnavailable("TopicAuthorizationFailed")

    monkeypatch.setattr(empty.world.log, "durability", not_allowed)
    unknown = await empty.http.get("/readyz")
    assert (unknown.status_code, unknown.json()["durability"], unknown.json()["log"]) == (200, None, "ok")


async def test_not_ready_says_which_part(empty: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_log(*_: object) -> None:
        raise LogUnavailable("no broker")

    async def no_store(*_: object) -> None:
        raise StoreUnavailable("no database")

    _allow(empty, ready_lag=0)
    empty.world.stopped.add("projector")
    await empty.post("/zones", {"name": "z"})
    behind = await empty.http.get("/readyz")
    assert behind.status_code == 503
    lag = behind.json()["lag"]
    assert lag > 0
    assert behind.json()["problems"] == [f"the read models are {lag} events behind; 0 are allowed"]
    monkeypatch.setattr(empty.world.store, "positions", no_store)
    answer = await empty.http.get("/readyz")
    assert (answer.status_code, answer.json()["database"]) == (503, "unreachable: no database")
    monkeypatch.setattr(empty.world.log, "bounds", no_log)
    answer = await empty.http.get("/readyz")
    assert (answer.status_code, answer.json()["log"]) == (503, "unreachable: no broker")
    assert (await empty.http.get("/healthz")).status_code == 200


async def test_not_ready_says_who_decides_nothing(empty: Api) -> None:
    _allow(empty, ready_waiting=0)
    empty.world.stopped.add("scheduler")
    await empty.post("/zones", {"name": "z"}, 202)
    behind = await empty.http.get("/readyz")
    assert behind.status_code == 503
    assert behind.json()["waiting"] == {"engine": 0, "scheduler": 1}
    assert behind.json()["problems"] == ["1 records wait for the scheduler; 0 are allowed"]
    empty.world.stopped.clear()
    await empty.world.settle()
    assert (await empty.http.get("/readyz")).status_code == 200


async def test_not_ready_says_what_nobody_takes(empty: Api) -> None:
    empty.world.stopped.add("scheduler")
    await empty.post("/zones", {"name": "z"}, 202)
    assert (await empty.http.get("/readyz")).status_code == 200
    empty.world.now += timedelta(seconds=61)
    told = await empty.http.get("/readyz")
    assert told.status_code == 503
    assert 61 <= told.json()["waiting_seconds"]["scheduler"] < 62
    assert told.json()["problems"] == ["what is oldest has waited 61 s for the scheduler; 60 s are allowed"]


async def test_not_ready_says_that_lists_are_old(empty: Api) -> None:
    empty.world.stopped.add("projector")
    await empty.post("/zones", {"name": "z"})
    empty.world.now += timedelta(seconds=61)
    told = (await empty.http.get("/readyz")).json()
    assert told["lag_seconds"] > 61
    assert told["problems"] == ["what is oldest has waited 61 s for the read models; 60 s are allowed"]


def _allow(api: Api, **limits: float) -> None:
    api.services.settings.api = api.services.settings.api.model_copy(update=limits)


async def test_version_and_config(empty: Api) -> None:
    assert (await empty.get("/version"))["version"]
    empty.services.settings.db = empty.services.settings.db.model_copy(
        update={"dsn": "postgresql://gostack:hunter2@db.example:5432/gostack"}
    )
    empty.services.settings.images = empty.services.settings.images.model_copy(
        update={"store": "https://reader:hunter2@store.example/images"}
    )
    rows = {row["name"]: row for row in (await empty.get("/config"))["settings"]}
    assert rows["api.port"]["value"] == 7480
    assert rows["images.store"]["value"] == "https://***@store.example/images"
    assert set(rows["api.port"]) == {"name", "value", "origin", "description"}
    assert "hunter2" not in str(rows)
    assert "db.example" in rows["db.dsn"]["value"]


@pytest.fixture
async def internal(empty: Api) -> AsyncIterator[httpx.AsyncClient]:
    app = create_internal_app(empty.services, TOKEN)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://i.test", headers=headers) as http:
        yield http


async def test_agents_are_told_of_pools_and_of_those_that_an_earlier_release_wrote(
    empty: Api, internal: httpx.AsyncClient
) -> None:
    for body in ({"name": "ceph", "type": "rbd", "ceph_pool": "vms"}, {"name": "nfs", "path": "/srv/nfs"}):
        await empty.post("/pools", body)
    (written,) = [row for row in empty.world.store._rows["pools"].values() if row.doc["name"] == "nfs"]
    for later in ("ceph_pool", "ceph_conf", "ceph_user"):
        del written.doc[later]
    told = (await internal.get("/internal/v1/pools")).json()["pools"]
    ceph, nfs = sorted(map(PoolPlace.model_validate, told), key=lambda place: place.name)
    assert (ceph.type, ceph.path, ceph.ceph_pool) == ("rbd", "", "vms")
    assert (ceph.ceph_conf, ceph.ceph_user) == ("/etc/ceph/ceph.conf", "gostack")
    assert (nfs.type, nfs.path, nfs.ceph_pool) == ("file", "/srv/nfs", "")


async def test_agents_fetch_secrets_and_images(empty: Api, internal: httpx.AsyncClient) -> None:
    await empty.world.secrets.put("ref", "instance", "pässword")
    answer = await internal.get("/internal/v1/secrets/ref")
    assert (answer.json(), answer.headers["Cache-Control"]) == ({"value": "pässword"}, "no-store")
    assert (await internal.get("/internal/v1/secrets/none")).status_code == 404
    content = b"\0mage" + b"image" * 99_999
    checksum = hashlib.sha256(content).hexdigest()
    await empty.image("tiny", content)
    assert (await internal.get(f"/internal/v1/images/{checksum}")).content == content
    part = await internal.get(f"/internal/v1/images/{checksum}", headers={"Range": "bytes=5-9"})
    assert (part.status_code, part.content) == (206, b"image")
    assert (await internal.get(f"/internal/v1/images/{'0' * 64}")).status_code == 404
    assert (await internal.get("/internal/v1/images/..%2Fsecret")).status_code in (404, 422)


async def test_agents_are_told_where_the_hosts_networks_are_reached(empty: Api, internal: httpx.AsyncClient) -> None:
    async def told() -> list[str]:
        await empty.world.settle()
        found: list[str] = (await internal.get("/internal/v1/uplinks")).json()["uplinks"]
        return found

    assert await told() == []
    await empty.world.host("h1", uplink="10.2.0.11")
    await empty.world.host("h2", uplink="10.2.0.12")
    await empty.world.host("alone")
    assert await told() == ["10.2.0.11", "10.2.0.12"]
    assert (await empty.get("/hosts/h1"))["uplink"] == "10.2.0.11"
    await empty.world.host("h1", uplink="10.2.0.21")
    await empty.world.host("h2")
    assert await told() == ["10.2.0.21"]


async def test_agents_are_told_by_which_keys_hosts_encrypt(empty: Api, internal: httpx.AsyncClient) -> None:
    async def told() -> dict[str, str]:
        await empty.world.settle()
        found: dict[str, str] = (await internal.get("/internal/v1/uplinks")).json()["keys"]
        return found

    await empty.world.host("h1", uplink="10.2.0.11", tunnel_key="one")
    await empty.world.host("h2", uplink="10.2.0.12")
    assert await told() == {"10.2.0.11": "one"}
    assert (await empty.get("/hosts/h1"))["tunnel_key"] == "one"
    assert (await empty.get("/hosts/h2"))["tunnel_key"] == ""
    await empty.world.host("h1", uplink="10.2.0.11", tunnel_key="two")
    assert await told() == {"10.2.0.11": "two"}
    # Made anew by another name: the one that is not there any more has no say, whatever happens to it.
    await empty.world.host("again", uplink="10.2.0.11", tunnel_key="three")
    assert await told() == {"10.2.0.11": "three"}
    await empty.world.send(host_key("h1"), SuspectHost())
    assert await told() == {"10.2.0.11": "three"}
    await empty.world.host("again", uplink="10.2.0.21", tunnel_key="three")
    await empty.world.host("moved", uplink="10.2.0.31", tunnel_key="three")
    assert await told() == {"10.2.0.11": "two", "10.2.0.31": "three"}
    await empty.world.host("h1")
    await empty.world.host("moved", uplink="10.2.0.31")
    await empty.world.host("again", uplink="10.2.0.21")
    assert await told() == {}


@pytest.mark.parametrize("shown", ["", "Bearer wrong", f"Basic {TOKEN}", TOKEN, "Bearer "])
async def test_nobody_else_fetches_anything(internal: httpx.AsyncClient, shown: str) -> None:
    for path in ("/internal/v1/uplinks", "/internal/v1/secrets/ref", f"/internal/v1/images/{'0' * 64}"):
        answer = await internal.get(path, headers={"Authorization": shown})
        assert (answer.status_code, answer.json()["code"]) == (401, "not-authorized")


async def test_an_empty_token_admits_nobody(empty: Api) -> None:
    app = create_internal_app(empty.services, "")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://i.test") as http:
        answer = await http.get("/internal/v1/secrets/x", headers={"Authorization": "Bearer "})
        assert answer.status_code == 401


async def test_users_cannot_reach_what_is_for_agents(empty: Api) -> None:
    answer = await empty.http.get("/internal/v1/secrets/x", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 404


async def test_segments_begin_above_what_is_known(api: Api) -> None:
    await api.services.segments.raise_to(500)
    await api.post("/networks", {"name": "far", "cidr": "10.9.0.0/24"})
    api.services.segments = type(api.world.segments)()
    await raise_segments(api.services)
    assert (await api.post("/networks", {"name": "next", "cidr": "10.9.0.0/24"}))["segment"] == 501


async def test_the_sweep_forgets_what_no_guest_reads(api: Api) -> None:
    web = await api.booted("web")
    api.world.agents.silent.add("StartGuest")
    building = await api.boot("building")
    await api.world.settle()
    secrets = api.world.secrets
    for instance_id in (web["id"], building["id"], "nobody"):
        await secrets.put(f"left of {instance_id}", instance_id, "x")
    assert await sweep(api.services) == 0
    api.world.now = datetime.now(UTC) + SETTLED + timedelta(minutes=1)
    assert await sweep(api.services) == 1
    assert await secrets.get(f"left of {web['id']}") is None
    assert await secrets.get(f"left of {building['id']}") == "x"
    api.world.now = datetime.now(UTC) + NEVER_BOOTED + timedelta(minutes=1)
    assert await sweep(api.services) == 1
    assert await secrets.get("left of nobody") is None
    assert await secrets.get(f"left of {building['id']}") == "x"


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE)
async def test_what_cannot_be_read_keeps_nobody_from_the_verdicts(empty: Api, nonsense: Record) -> None:
    empty.world.stopped.add("projector")
    _allow(empty, read_timeout=0.02)
    await empty.world.log.publish([replace(nonsense, partition=partition) for partition in range(12)])
    await empty.post("/zones", {"name": "a"})
