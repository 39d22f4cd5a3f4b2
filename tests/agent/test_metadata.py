"""The metadata service: what a guest is told, by which tokens, and what a stranger is told."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest

from agent.drivers.driver import Secrets
from agent.drivers.libvirt import guest_metadata
from agent.metadata.app import EC2_VERSIONS, LONGEST_TOKEN, NETWORK, TOKEN, TOKEN_SECONDS, Ask, metadata
from agent.metadata.link import MetadataProcess
from domain.guest_spec import ImageRef
from infra.process.settings import Http
from tests.agent import private_host
from tests.agent.samples import a_guest

IMAGE = ImageRef(id="i-1", name="tiny", checksum="ab" * 32, format="qcow2", size=1, virtual_size=1)
GUEST = a_guest(IMAGE, public_key="ssh-ed25519 AAAA me", key_name="laptop", config_drive=False, launch_index=2)
ADDRESS = GUEST.nics[0].ip
SEGMENT = 7
TOLD = guest_metadata.documents(GUEST, Secrets(password="geheim", user_data=b"#!/bin/sh\n"), 1500)
URL = "http://169.254.169.254"

Client = Callable[..., httpx.AsyncClient]


def answer(segment: int, address: str, name: str) -> bytes | None:
    """What an agent whose only guest is GUEST answers."""
    return TOLD.get(name) if (segment, address) == (SEGMENT, ADDRESS) else None


async def ask(segment: int, address: str, name: str) -> bytes | None:
    return answer(segment, address, name)


def client_of(asking: Ask = ask, token: str = "optional") -> Client:
    app = metadata(asking, token)  # type: ignore[arg-type]

    def by(address: str = ADDRESS, segment: int = SEGMENT) -> httpx.AsyncClient:
        async def of_network(scope, receive, send):  # type: ignore[no-untyped-def]
            await app({**scope, NETWORK: segment}, receive, send)

        transport = httpx.ASGITransport(app=of_network, client=(address, 1024))
        return httpx.AsyncClient(transport=transport, base_url=URL)

    return by


@pytest.fixture
def client() -> Client:
    return client_of()


async def test_a_guest_is_told_who_it_is(client: Client) -> None:
    async with client() as guest:
        meta = (await guest.get("/openstack/latest/meta_data.json")).json()
        assert (meta["uuid"], meta["admin_pass"], meta["launch_index"]) == (GUEST.id, "geheim", 2)
        assert (await guest.get("/openstack/latest/user_data")).text == "#!/bin/sh\n"
        assert "links" in (await guest.get("/openstack/latest/network_data.json")).json()
        assert (await guest.get("/openstack")).text == "latest"
        assert (await guest.get("/openstack/latest/")).text.split() == list(TOLD)


@pytest.mark.parametrize("version", EC2_VERSIONS)
async def test_each_version_of_amazons_form_says_the_same(client: Client, version: str) -> None:
    async with client() as guest:

        async def text(path: str) -> str:
            return (await guest.get(f"/{version}/{path}")).raise_for_status().text

        assert version in (await guest.get("/")).text.split()
        assert (await text("")).split() == ["meta-data/", "user-data"]
        assert (await text("user-data")) == "#!/bin/sh\n"
        names = (await text("meta-data/")).split()
        assert {"instance-id", "hostname", "local-hostname", "ami-launch-index", "public-keys/"} <= set(names)
        for name in names:
            assert await text(f"meta-data/{name}")
        assert await text("meta-data/instance-id") == GUEST.id
        assert await text("meta-data/ami-launch-index") == "2"
        assert await text("meta-data/hostname") == "web-1"
        assert await text("meta-data/public-keys/") == "0=laptop"
        assert await text("meta-data/public-keys/0") == "openssh-key"
        assert await text("meta-data/public-keys/0/openssh-key") == "ssh-ed25519 AAAA me"


async def test_a_guest_without_a_key_or_user_data_is_told_of_none() -> None:
    told = guest_metadata.documents(GUEST.but(public_key=""), Secrets(), 1500)

    async def ask(segment: int, address: str, name: str) -> bytes | None:
        return told.get(name)

    async with client_of(ask)() as guest:
        assert "public-keys/" not in (await guest.get("/latest/meta-data/")).text
        assert (await guest.get("/latest/")).text == "meta-data/"
        for path in ("latest/user-data", "latest/meta-data/public-keys/0/openssh-key", "openstack/latest/user_data"):
            assert (await guest.get(f"/{path}")).status_code == 404


async def test_a_guest_is_told_what_the_operator_tells_all() -> None:
    vendor = {"region": "east", "cloud-init": "#!/bin/sh\n"}
    told = guest_metadata.documents(GUEST, Secrets(), 1500, vendor)

    async def ask(segment: int, address: str, name: str) -> bytes | None:
        return told.get(name)

    async with client_of(ask)() as guest:
        assert (await guest.get("/openstack/latest/vendor_data.json")).json() == vendor
        assert (await guest.get("/openstack/latest/vendor_data2.json")).json() == {"static": vendor}
        assert (await guest.get("/openstack/latest/")).text.split() == list(told)


@pytest.mark.parametrize(
    ("address", "segment"), [("10.99.0.1", SEGMENT), (ADDRESS, SEGMENT + 1), ("::1", SEGMENT), ("../x", SEGMENT)]
)
async def test_a_stranger_is_told_nothing(client: Client, address: str, segment: int) -> None:
    async with client(address, segment) as stranger:
        for path in ("/openstack/latest/meta_data.json", "/latest/meta-data/hostname", "/latest/user-data"):
            assert (await stranger.get(path)).status_code == 404


@pytest.mark.parametrize("name", ["vendor_data2.json", "..%2f..%2faddresses", "meta_data.json.new"])
async def test_only_the_documents_are_given(client: Client, name: str) -> None:
    async with client() as guest:
        assert (await guest.get(f"/openstack/latest/{name}")).status_code == 404
        assert (await guest.get(f"/latest/meta-data/{name}")).status_code == 404
        assert (await guest.get(f"/{name}/meta-data/hostname")).status_code == 404


async def test_a_token_is_the_guests_own_and_ends() -> None:
    by = client_of(token="required")
    path = "/latest/meta-data/hostname"
    async with by() as guest, by("10.41.0.99") as other, by(segment=SEGMENT + 1) as same_address:
        assert (await guest.get(path)).status_code == 401
        answered = await guest.put("/latest/api/token", headers={TOKEN_SECONDS: "60"})
        token = answered.raise_for_status().text
        assert (await guest.get(path, headers={TOKEN: token})).text == "web-1"
        for stranger in (other, same_address):
            assert (await stranger.get(path, headers={TOKEN: token})).status_code == 401
        until, _, proof = token.partition(".")
        for wrong in (f"{int(until) + 60}.{proof}", "", "x", f"1.{proof}", f"{until}.", f"{'9' * 5000}.{proof}"):
            assert (await guest.get(path, headers={TOKEN: wrong})).status_code == 401
        through = {TOKEN_SECONDS: "60", "X-Forwarded-For": "10.0.0.1"}
        assert (await guest.put("/latest/api/token", headers=through)).status_code == 403
        for seconds in ("", "0", "-1", str(LONGEST_TOKEN + 1), "x", "²"):
            headers = {TOKEN_SECONDS.encode(): seconds.encode()}
            assert (await guest.put("/latest/api/token", headers=headers)).status_code == 400


async def test_a_wrong_token_is_refused_where_none_is_needed(client: Client) -> None:
    async with client() as guest:
        assert (await guest.get("/latest/meta-data/hostname", headers={TOKEN: "1.x"})).status_code == 401


@asynccontextmanager
async def running(process: MetadataProcess) -> AsyncIterator[None]:
    task = asyncio.create_task(process.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def status_of(pid: int) -> dict[str, str]:
    """What the kernel says of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


@pytest.mark.real
@pytest.mark.skipif(bool(private_host.missing()), reason="a process without rights is started by root")
async def test_the_process_has_no_rights_and_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.metadata.link.PAUSE", 0.1)

    def of_loopback(segment: int, address: str, name: str) -> bytes | None:
        return TOLD.get(name) if (segment, address) == (SEGMENT, "127.0.0.1") else None

    process = MetadataProcess(of_loopback, "nobody", "optional", Http())
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]

    async def hostname() -> str:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as guest:
            return (await guest.get("/latest/meta-data/hostname")).raise_for_status().text

    process.add(SEGMENT, listening)
    async with running(process):
        assert await hostname() == "web-1"
        pid = process.pid
        rights = status_of(pid)
        assert rights["Uid"].split() == ["65534"] * 4
        assert rights["NoNewPrivs"] == "1"
        assert {int(rights[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
        os.kill(pid, signal.SIGKILL)
        assert await hostname() == "web-1"
        assert process.pid != pid
        process.remove(SEGMENT)
        for _ in range(300):
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 5).close()
                await asyncio.sleep(0.1)
                continue
            break
        else:
            raise AssertionError("it still listens")


@pytest.mark.real
@pytest.mark.skipif(bool(private_host.missing()), reason="a process without rights is started by root")
async def test_a_question_that_fails_leaves_the_next_ones_answered() -> None:
    problems: list[Exception] = [OSError("the guest's directory is going"), ValueError("no address")]

    def of_loopback(segment: int, address: str, name: str) -> bytes | None:
        if problems:
            raise problems.pop()
        return TOLD.get(name)

    process = MetadataProcess(of_loopback, "nobody", "optional", Http())
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    process.add(SEGMENT, listening)
    async with running(process), httpx.AsyncClient(base_url=url, timeout=30) as guest:
        answers = [(await guest.get("/latest/meta-data/hostname")).status_code for _ in range(3)]
    assert answers == [404, 404, 200]
