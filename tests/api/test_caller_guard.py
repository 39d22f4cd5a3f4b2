"""Who may speak to the API: by which names it is called, and what a page in somebody's browser may not do."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from api.app import create_app
from api.http.caller_guard import OwnNames
from domain.core.errors import Refusal
from infra.process.http_server import HEADERS
from tests.api.api import Api
from tests.api.served import on_a_socket

EVIL = "evil.example:7480"
MACHINE = socket.gethostname()


def refused(host: str, listen: str = "127.0.0.1", *more: str) -> str:
    """The code of the refusal; empty where there is none."""
    found: Refusal | None = OwnNames(listen, more).refused(host.encode())
    return found.code if found else ""


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:7480",
        "localhost.",
        "127.0.0.1",
        "127.0.0.1:7480",
        "127.8.0.1:1",
        "[::1]:7480",
        MACHINE,
        f"{MACHINE.upper()}:7480",
    ],
)
def test_the_own_names(host: str) -> None:
    assert refused(host) == ""


@pytest.mark.parametrize(
    "host", [EVIL, "localhost.evil.example", "evil.localhost.", "10.0.0.1:7480", "0.0.0.0:7480", "[::]:7480", "8.8.8.8"]
)
def test_foreign_names_and_addresses(host: str) -> None:
    assert refused(host) == "wrong-host"


@pytest.mark.parametrize(
    "host", ["", ":80", "a b", "localhost:", "localhost:x", "a@localhost", "localhost/", "[::1", "::1", "[x]", "\xff y"]
)
def test_what_is_no_host(host: str) -> None:
    assert refused(host) == "malformed"


def test_which_names_the_settings_add() -> None:
    assert refused("10.0.0.1:7480", "10.0.0.1") == ""
    assert refused("10.0.0.2:7480", "10.0.0.1") == "wrong-host"
    assert refused("cloud.example", "127.0.0.1", " Cloud.Example ", "") == ""
    assert refused("cloud.example.evil.example", "127.0.0.1", "cloud.example") == "wrong-host"
    assert refused("api", "api") == ""
    for everywhere in ("0.0.0.0", "::"):
        assert refused("10.0.0.1:7480", everywhere) == refused("[fd00::1]", everywhere) == ""
        assert refused(EVIL, everywhere) == "wrong-host"
    assert refused(EVIL, "127.0.0.1", "*") == ""
    assert refused("a b", "127.0.0.1", "*") == "malformed"


async def test_a_name_that_is_not_the_apis_reads_and_writes_nothing(api: Api) -> None:
    for method, path in (("GET", "/v1/hosts"), ("GET", "/docs"), ("GET", "/healthz"), ("POST", "/v1/zones")):
        answer = await api.http.request(method, path, headers={"Host": EVIL}, json={"name": "z"})
        assert (answer.status_code, answer.json()["code"]) == (421, "wrong-host"), path
        assert "api.names" in answer.json()["hint"]
        assert "evil.example" in answer.json()["detail"]
    twice = await api.http.get("/v1/hosts", headers=[("Host", "localhost"), ("Host", "localhost")])
    assert (twice.status_code, twice.json()["code"]) == (400, "malformed")


FOREIGN = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:3000"},
    {"Origin": "http://localhost.evil.example"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_a_foreign_page_changes_nothing(api: Api, headers: dict[str, str]) -> None:
    host = (await api.get("/hosts"))["hosts"][0]
    plain = {**headers, "Content-Type": "text/plain"}
    for method, path in (
        ("POST", f"/v1/hosts/{host['id']}/actions/disable"),
        ("PATCH", "/v1/images/tiny/file"),
        ("POST", "/v1/nothing"),
        ("PATCH", f"/v1/hosts/{host['id']}"),
        ("DELETE", "/v1/flavors/small"),
    ):
        answer = await api.http.request(method, path, headers=plain)
        assert (answer.status_code, answer.json()["code"]) == (403, "foreign-origin"), path
    assert (await api.get("/hosts"))["hosts"][0] == host
    assert api.stored().keys() == {(await api.get("/images"))["images"][0]["checksum"]}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "https://LOCALHOST"},
        {"Sec-Fetch-Site": "none"},
    ],
    ids=str,
)
async def test_the_apis_own_page_and_programs_change_what_they_like(api: Api, headers: dict[str, str]) -> None:
    assert (await api.http.post("/v1/zones", json={"name": "z"}, headers=headers)).status_code == 201


async def test_a_webhook_commands_nothing_here(api: Api) -> None:
    headers = {"User-Agent": "gostack-webhooks"}
    host = (await api.get("/hosts"))["hosts"][0]
    answer = await api.http.post(f"/v1/hosts/{host['id']}/actions/disable", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "own-delivery")
    assert (await api.get("/hosts"))["hosts"][0] == host


@asynccontextmanager
async def client(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API on a real socket."""
    async with on_a_socket(create_app(api.services)) as url, httpx.AsyncClient(base_url=url) as made:
        yield made


async def test_on_a_real_socket(api: Api) -> None:
    async with client(api) as http:
        assert (await http.get("/v1/hosts")).status_code == 200
        assert (await http.get("/v1/hosts", headers={"Host": EVIL})).status_code == 421
        posted = await http.post("/v1/zones", json={"name": "z"}, headers={"Origin": "http://evil.example"})
        assert posted.status_code == 403
        own = {"Origin": str(http.base_url).rstrip("/")}
        assert (await http.post("/v1/zones", json={"name": "z"}, headers=own)).status_code == 201
        for path in ("/v1/hosts", "/v1/nothing", "/docs", "/healthz"):
            fields = (await http.get(path)).headers
            assert {name: fields[name] for name, _ in HEADERS} == dict(HEADERS), path
