import uuid
from collections.abc import AsyncIterator, Mapping
from typing import cast

import httpx
import pytest

from agent.drivers.driver import DriverError, VncAddress
from agent.drivers.simulated.driver import SimulatedDriver
from agent.host.endpoint import endpoint
from domain.guest_spec import GuestSpec, ImageRef
from domain.network.on_host import RuleCount
from tests.agent.samples import a_guest

IMAGE = ImageRef(id="i-1", name="tiny", checksum="ab" * 32, format="qcow2", size=1, virtual_size=1)
TOKEN = "shared"
GROUP = "7a3f4c52-1d0f-4c57-9d1f-2f6c2f3a9b10"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


class Unreachable(SimulatedDriver):
    async def vnc(self, instance_id: str, valid_seconds: int) -> VncAddress:
        raise DriverError("hypervisor-unreachable", "nobody answers")


@pytest.fixture
async def driver() -> SimulatedDriver:
    return SimulatedDriver()


@pytest.fixture
async def guest(driver: SimulatedDriver) -> GuestSpec:
    made = a_guest(IMAGE)
    await driver.prepare_image(IMAGE)
    await driver.create_disk(made)
    await driver.define(made)
    return made


@pytest.fixture
async def client(driver: SimulatedDriver) -> AsyncIterator[httpx.AsyncClient]:
    app = endpoint({"h-1": driver, "h-2": Unreachable()}, TOKEN, lambda host: {"g": 3} if host == "h-1" else {})
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://agent", headers=HEADERS) as made:
        yield made


def path(guest: GuestSpec, what: str, host: str = "h-1") -> str:
    return f"/v1/hosts/{host}/instances/{guest.id}/{what}"


def code(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/problem+json"
    return cast(str, answer.json()["code"])


async def test_the_disks_of_an_instance_are_told_as_they_are() -> None:
    driver, guest = SimulatedDriver(), a_guest(IMAGE, disk=1 << 30)
    app = endpoint({"h-1": driver}, TOKEN, lambda host: {})
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://agent", headers=HEADERS) as client:
        url = f"/v1/hosts/h-1/instances/{guest.id}/disks"
        answer = await client.get(url)
        assert (answer.status_code, code(answer)) == (404, "disk-missing")
        await driver.prepare_image(IMAGE)
        await driver.create_disk(guest)
        (root,) = (await client.get(url)).json()["disks"]
        assert (root["name"], root["virtual_size"], root["format"]) == ("root", 1 << 30, "qcow2")
        assert (await client.get(url, headers={"Authorization": "Bearer other"})).status_code == 401


class Counting(SimulatedDriver):
    async def rule_counters(self, group: str = "") -> Mapping[str, RuleCount]:
        return {"r-1": RuleCount(packets=2, bytes=120)} if group == GROUP else {}


async def test_what_rules_of_a_group_have_permitted_is_told() -> None:
    app = endpoint({"h-1": Counting(), "h-2": SimulatedDriver()}, TOKEN, lambda host: {})
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://agent", headers=HEADERS) as client:
        url = "/v1/hosts/{}/security-groups/{}/counters"
        assert (await client.get(url.format("h-1", GROUP))).json() == {"rules": {"r-1": {"packets": 2, "bytes": 120}}}
        assert (await client.get(url.format("h-1", uuid.uuid4()))).json() == {"rules": {}}
        assert (await client.get(url.format("h-2", GROUP))).json() == {"rules": {}}
        assert code(await client.get(url.format("h-3", GROUP))) == "host-unknown"
        assert (await client.get(url.format("h-1", "no-id"))).status_code == 422
        refused = await client.get(url.format("h-1", GROUP), headers={"Authorization": "Bearer other"})
        assert refused.status_code == 401


async def test_a_simulated_host_keeps_no_networks(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/hosts/h-1/networks")
    assert (answer.status_code, answer.json()) == (200, None)
    assert code(await client.get("/v1/hosts/h-3/networks")) == "host-unknown"


@pytest.mark.parametrize("given", ["", "Bearer ", "Bearer other", "Basic shared", "shared"])
async def test_nobody_is_admitted_without_the_token(client: httpx.AsyncClient, guest: GuestSpec, given: str) -> None:
    answer = await client.get(path(guest, "console"), headers={"Authorization": given})
    assert (answer.status_code, code(answer)) == (401, "unauthorized")


def test_an_empty_token_would_admit_anybody() -> None:
    with pytest.raises(ValueError, match="token"):
        endpoint({}, "", lambda _: {})


async def test_anybody_may_ask_whether_it_lives(client: httpx.AsyncClient) -> None:
    answer = await client.get("/healthz", headers={"Authorization": ""})
    assert answer.json() == {"hosts": 2}


async def test_a_console_is_plain_text_of_at_most_what_was_asked_for(
    client: httpx.AsyncClient, driver: SimulatedDriver, guest: GuestSpec
) -> None:
    assert (await client.get(path(guest, "console"))).content == b""
    await driver.start(guest.id)
    answer = await client.get(path(guest, "console"))
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text.endswith("gostack-guest: ready\n")
    assert (await client.get(path(guest, "console"), params={"most": 6})).text == "ready\n"
    assert (await client.get(path(guest, "console"), params={"most": 1 << 40})).status_code == 422


async def test_a_display_gets_a_fresh_password(
    client: httpx.AsyncClient, driver: SimulatedDriver, guest: GuestSpec
) -> None:
    await driver.start(guest.id)
    first = (await client.post(path(guest, "vnc"))).json()
    second = (await client.post(path(guest, "vnc"), json={"valid_seconds": 60})).json()
    assert set(first) == {"host", "port", "password", "valid_seconds"}
    assert first["password"] != second["password"]
    assert second["valid_seconds"] == 60


async def test_what_is_wrong_is_said_with_its_code(client: httpx.AsyncClient, guest: GuestSpec) -> None:
    off = await client.post(path(guest, "vnc"))
    assert (off.status_code, code(off)) == (409, "guest-off")
    unknown = await client.post(path(guest.but(id=str(uuid.uuid4())), "vnc"))
    assert (unknown.status_code, code(unknown)) == (404, "guest-unknown")
    elsewhere = await client.post(path(guest, "vnc", "h-9"))
    assert (elsewhere.status_code, code(elsewhere)) == (404, "host-unknown")
    unreachable = await client.post(path(guest, "vnc", "h-2"))
    assert (unreachable.status_code, code(unreachable)) == (503, "hypervisor-unreachable")


async def test_it_tells_what_its_hypervisor_runs(
    client: httpx.AsyncClient, driver: SimulatedDriver, guest: GuestSpec
) -> None:
    told = (await client.get("/v1/hosts/h-1/guests")).json()
    assert told == {"guests": {guest.id: "shutdown"}, "epochs": {"g": 3}}
    await driver.start(guest.id)
    assert (await client.get("/v1/hosts/h-1/guests")).json()["guests"] == {guest.id: "running"}
    assert code(await client.get("/v1/hosts/h-3/guests")) == "host-unknown"
