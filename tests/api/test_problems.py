"""Every way to be refused is a problem document, and every refusal has its status."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from api.http.problems import STATUS, status_of
from domain.core.errors import Category, Refusal, refusals
from infra.log.log import LogUnavailable
from projections.store.port import StoreUnavailable
from tests.api.api import DESCRIBED, GAP, Api, serving

MEMBERS = {"type", "title", "status", "detail", "code", "hint", "values", "instance"}


STATUSES = {
    "address-taken": 409,
    "agent-refused": 409,
    "agent-unreachable": 502,
    "already-exists": 409,
    "broken": 500,
    "error-needs-ignore": 409,
    "event-not-retried": 409,
    "host-gone": 404,
    "idempotency-key-reused": 422,
    "in-use": 409,
    "invalid": 422,
    "malformed": 400,
    "method-not-allowed": 405,
    "name-not-unique": 409,
    "network-needed": 409,
    "no-address-left": 409,
    "no-host-yet": 409,
    "no-route": 404,
    "no-such-task": 404,
    "no-valid-host": 409,
    "not-applied-yet": 504,
    "not-authorized": 401,
    "not-found": 404,
    "not-supported-yet": 422,
    "not-there-then": 404,
    "other-cell": 409,
    "overloaded": 429,
    "parked": 409,
    "past-missing": 409,
    "past-too-long": 422,
    "port-busy": 409,
    "projection-busy": 409,
    "replay-too-long": 422,
    "task-running": 409,
    "too-large": 413,
    "too-large-for-a-file": 422,
    "too-many-events": 422,
    "too-many-webhooks": 409,
    "unavailable": 503,
    "version-conflict": 412,
    "wrong-status": 409,
}
"""What clients of earlier releases were answered: a code keeps its status for ever."""


def test_a_refusal_without_a_category_cannot_be_written() -> None:
    begun: Any = Refusal.__init_subclass__
    with pytest.raises(TypeError, match="Vague must say its category"):
        # What Python calls for a new subclass; a real one would stay among the refusals of the tests after this.
        begun.__func__(type("Vague", (), {"code": "vague"}))


def test_every_refusal_says_its_own_category() -> None:
    for refusal in refusals().values():
        assert "category" in vars(refusal), refusal.__name__


def test_a_code_keeps_its_status() -> None:
    told = {code: status_of(code) for code in refusals()}
    assert told | STATUSES == told
    assert set(Category) == set(STATUS)
    assert status_of("of-a-newer-release") == 409


async def test_a_problem_has_every_member(empty: Api) -> None:
    answer = await empty.http.get("/v1/flavors/none")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json() == {
        "type": "urn:gostack:problem:not-found",
        "title": "Not found",
        "status": 404,
        "detail": "There is no flavor none.",
        "code": "not-found",
        "hint": "",
        "values": {"kind": "flavor", "id": "none"},
        "instance": "/v1/flavors/none",
    }


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "no-route"),
        ("GET", "/", 404, "no-route"),
        ("GET", "/v1/flavors/", 404, "no-route"),
        ("PUT", "/v1/flavors", 405, "method-not-allowed"),
        ("POST", "/v1/instances/x/actions/dance", 404, "no-route"),
    ],
)
async def test_unknown_routes_and_methods(empty: Api, method: str, path: str, status: int, code: str) -> None:
    answer = await empty.http.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert set(answer.json()) == MEMBERS


async def test_a_method_that_is_not_allowed_is_told_all_that_are(empty: Api) -> None:
    paths = DESCRIBED["paths"]
    for path in paths:
        filled = GAP.sub("instance", path)
        answer = await empty.http.request("TRACE", filled)
        fitting = [other for other in paths if re.fullmatch(GAP.sub("[^/]+", other), filled)]
        allowed = sorted({method.upper() for other in fitting for method in paths[other]})
        assert (answer.status_code, answer.headers["Allow"]) == (405, ", ".join(allowed)), path


@pytest.mark.parametrize("content", [b"{", b"{'a': 1}", b'{"name": "\xff"}'])
async def test_a_body_that_is_no_json(empty: Api, content: bytes) -> None:
    answer = await empty.http.post("/v1/flavors", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


async def test_a_body_of_another_kind(empty: Api) -> None:
    answer = await empty.http.post("/v1/flavors", json=[1])
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "body")


async def _chunks(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 1000):
        yield b" " * 1000


@pytest.mark.parametrize("told", [True, False])
async def test_a_body_that_is_too_large(empty: Api, told: bool) -> None:
    content: Any = b" " * (2 << 20) if told else _chunks(2 << 20)
    answer = await empty.http.post("/v1/flavors", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")


async def test_validation_names_field_allowed_and_given(empty: Api) -> None:
    refused = await empty.post("/flavors", {"name": "x", "core": 0, "memory": "much", "policy": "mine"}, 422)
    told = {each["field"]: each for each in refused["errors"]}
    assert (told["core"]["allowed"], told["core"]["given"]) == ("at least 1", 0)
    assert told["memory"]["given"] == "much"
    assert "Shared" in told["policy"]["allowed"]
    assert "core" in refused["detail"]


async def test_a_header_that_is_too_long(empty: Api) -> None:
    for name in ("Idempotency-Key", "X-GoStack-Actor", "X-GoStack-Reason"):
        answer = await empty.http.post("/v1/zones", json={"name": "z"}, headers={name: "x" * 256})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


async def test_a_log_that_is_away(empty: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(*_: object) -> None:
        raise LogUnavailable("no broker")

    monkeypatch.setattr(empty.world.log, "publish", down)
    answer = await empty.http.post("/v1/zones", json={"name": "z"})
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["Retry-After"] == "1"
    assert "/v1/commands/" in answer.json()["detail"]
    assert empty.services.verdicts.waiting == 0


async def test_a_database_that_is_away(empty: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(*_: object) -> None:
        raise StoreUnavailable("no database")

    monkeypatch.setattr(empty.world.store, "page", down)
    answer = await empty.http.get("/v1/zones")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "no database" not in answer.text


async def test_a_fault_of_our_own_tells_an_incident_and_no_more(
    empty: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("inner detail")

    monkeypatch.setattr(empty.world.store, "page", broken)
    with caplog.at_level(logging.ERROR):
        answer = await empty.http.get("/v1/zones")
    assert (answer.status_code, answer.json()["code"]) == (500, "broken")
    assert "inner detail" not in answer.text
    assert answer.json()["values"]["incident"] in caplog.text


async def test_too_many_commands_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path, max_in_flight=2) as api:
        await api.furnish()
        api.world.stopped.add("engine")
        body = {"name": "z", "core": 1, "memory": 1 << 30}
        waiting = [
            asyncio.create_task(api.http.post("/v1/flavors", json=body | {"name": f"f{number}"})) for number in range(2)
        ]
        await asyncio.sleep(0.05)
        answer = await api.http.post("/v1/flavors", json=body)
        assert (answer.status_code, answer.json()["code"]) == (429, "overloaded")
        assert (
            answer.json()["detail"]
            == "The service is overloaded: 2 commands wait for a verdict; api.max_in_flight allows 2."
        )
        assert answer.headers["Retry-After"] == "1"
        assert {each.status_code for each in await asyncio.gather(*waiting)} == {202}
        api.world.stopped.clear()
        await api.post("/flavors", body)
        # More than the bound at once is let in where nothing waits: it would be refused for ever.
        await api.boot(count=3)
