"""What every process says while a boot goes through them all: lines that parse, with the ids of what is worked on."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.drivers.driver import DriverError, DriverFault
from agent.drivers.simulated.driver import SimulatedDriver
from domain.core.messages import Record, Topic
from domain.guest_spec import GuestSpec
from infra.process.logging import Json, Text
from tests.harness.whole import ended, whole

PASSWORD = "Pa55-of-the-guest"
USER_DATA = "#cloud-config: secret-of-the-user"
ROOMS = ("api", "commands", "agent", "projections")


class Said:
    """Every line, in both forms."""

    def __init__(self) -> None:
        self.json, self.text = io.StringIO(), io.StringIO()

    def lines(self, **wanted: str) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.json.getvalue().splitlines()]
        return [line for line in found if all(line.get(name) == value for name, value in wanted.items())]


@pytest.fixture
def said() -> Iterator[Said]:
    told = Said()
    handlers = [logging.StreamHandler(told.json), logging.StreamHandler(told.text)]
    handlers[0].setFormatter(Json("test"))
    handlers[1].setFormatter(Text())
    for name in ROOMS:
        logging.getLogger(name).setLevel(logging.DEBUG)
    for handler in handlers:
        logging.getLogger().addHandler(handler)
    yield told
    for handler in handlers:
        logging.getLogger().removeHandler(handler)
    for name in ROOMS:
        logging.getLogger(name).setLevel(logging.NOTSET)


async def test_each_process_says_what_it_works_on(tmp_path: Path, said: Said) -> None:
    async with whole(tmp_path) as api:
        given = await api.boot(network="lan", password=PASSWORD, user_data=USER_DATA)
        task = await ended(api, given["task_id"])
        assert task["status"] == "finished"
        await api.http.post(f"/v1/instances/{given['id']}/vnc")
    ids = {"instance": given["id"], "task": given["task_id"]}
    (answered,) = said.lines(logger="api.http.timing", command=given["command_id"])
    assert (answered["request"], answered["instance"]) == ("POST /v1/instances", given["id"])
    (decided,) = said.lines(logger="commands.processor", command=given["command_id"])
    assert decided["type"] == "gostack.instance.boot.v1"
    assert decided["place"].startswith("gostack.commands:")
    (placed,) = said.lines(logger="commands.processor", type="gostack.scheduling.place-instance.v3")
    assert {name: placed[name] for name in ids} == ids
    jobs = said.lines(logger="agent.runner.runner", **ids)
    assert [line["job"] for line in jobs if line["message"].startswith(line["job"])][-1] == "StartGuest"
    assert all(line["host"] and line["job_id"] for line in jobs)
    projected = said.lines(logger="projections.projector", type="gostack.task.finished.v2", **ids)
    assert len(projected) == 1
    for secret in (PASSWORD, USER_DATA):
        assert secret not in said.json.getvalue() + said.text.getvalue()


class Broken(SimulatedDriver):
    """A hypervisor that refuses, or fails with all that it knows."""

    error: Exception

    async def define(self, guest: GuestSpec) -> None:
        raise self.error


@pytest.mark.parametrize(
    "error", [DriverError(DriverFault.HYPERVISOR_REFUSED, "no such machine"), RuntimeError("no such machine")]
)
async def test_a_job_that_fails_says_which(tmp_path: Path, said: Said, error: Exception) -> None:
    driver = Broken()
    driver.error = error
    async with whole(tmp_path, {"h1": driver}) as api:
        given = await api.boot(network="lan", password=PASSWORD, user_data=USER_DATA)
        assert (await ended(api, given["task_id"]))["status"] == "failed"
    failed = [line for line in said.lines(job="DefineGuest") if line["level"] in ("warning", "error")]
    assert {(line["task"], line["instance"]) for line in failed} == {(given["task_id"], given["id"])}
    assert any("no such machine" in line["message"] + line.get("exception", "") for line in failed)
    for secret in (PASSWORD, USER_DATA):
        assert secret not in said.json.getvalue() + said.text.getvalue()


async def test_a_record_nobody_can_read_is_named_by_its_place(tmp_path: Path, said: Said) -> None:
    async with whole(tmp_path) as api:
        (host,) = (await api.get("/hosts"))["hosts"]
        partition = int(json.loads((await api.http.get(f"/v1/hosts/{host['id']}")).text)["partition"])
        await api.world.log.publish([Record(Topic.COMMANDS, b"x", b"not json", partition=3)])
        await api.world.log.publish([Record(Topic.JOBS, host["id"].encode(), b"not json", partition=partition)])
        async with asyncio.timeout(10):
            while len([line for line in said.lines() if "dead" in line["message"]]) < 2:
                await api.world.log.wait(0.005)
    places = {line["logger"]: line["place"] for line in said.lines() if "dead" in line["message"]}
    assert places["commands.processor"].startswith("gostack.commands:3:")
    assert places["agent.service"].startswith(f"gostack.jobs:{partition}:")


async def test_a_fault_of_our_own_says_which_request_it_was(
    tmp_path: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with whole(tmp_path) as api:

        async def broken(*_: object) -> None:
            raise RuntimeError("inner detail")

        monkeypatch.setattr(api.world.log, "publish", broken)
        answer = await api.http.post("/v1/zones", json={"name": "z"})
        monkeypatch.undo()
    assert answer.status_code == 500
    (line,) = said.lines(logger="api.http.problems")
    assert line["request"] == "POST /v1/zones"
    assert line["command"]
    assert "inner detail" in line["exception"]


SURROGATE = "\\ud800"
"""As it stands in JSON: half of a pair of surrogates, which no encoder takes."""
REFUSED = [
    f'{{"name": "a{SURROGATE}", "image": "tiny", "flavor": "small", "password": "{PASSWORD}"}}',
    f'{{"name": "a{SURROGATE}", "password": "{PASSWORD}", "user_data": "{USER_DATA}"}}',
    f'{{"name": "a", "passwrod": "{PASSWORD}", "user-data": "{USER_DATA}"}}',
    f'{{"name": "a", "password": ["{PASSWORD}"], "user_data": {{"x": "{USER_DATA}"}}}}',
    f'{{"name": "a", "image": "tiny", "flavor": "small", "password": "{PASSWORD}\\u0000"}}',
    f'{{"name": "a", "image": "tiny", "flavor": "small", "description": "{SURROGATE}", "password": "{PASSWORD}"}}',
    f'["{PASSWORD}", "{USER_DATA}"]',
    f'{{"password": "{PASSWORD}", "user_data": "{USER_DATA}"',
]
"""Bodies that a boot refuses, or cannot take, all with secrets."""


@pytest.mark.parametrize("body", REFUSED)
@pytest.mark.parametrize("key", ["", "key-1"])
async def test_what_is_refused_is_not_logged(tmp_path: Path, said: Said, body: str, key: str) -> None:
    async with whole(tmp_path) as api:
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
        answer = await api.http.post("/v1/instances", content=body.encode(), headers=headers)
        assert answer.status_code >= 400
    logged = said.json.getvalue() + said.text.getvalue()
    assert logged
    for secret in (PASSWORD, USER_DATA):
        assert secret not in logged


async def test_a_path_forges_no_line(tmp_path: Path, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    forged = "2026-11-29T00:00:00.000000Z ERROR api.problems FORGED"

    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("out of order\n" + forged)

    async with whole(tmp_path) as api:
        for name in ("get", "find"):
            monkeypatch.setattr(api.world.store, name, broken)
        path = "/v1/instances/x%0a" + forged.replace(" ", "%20") + "%1b%5b31m%c2%9b"
        assert (await api.http.get(path)).status_code == 500
        monkeypatch.undo()
    assert "FORGED" in said.text.getvalue()
    for text in (said.text.getvalue(), said.json.getvalue()):
        assert not any(line.startswith(forged[:20]) for line in text.split("\n"))
        assert all(line.isprintable() for line in text.split("\n"))
