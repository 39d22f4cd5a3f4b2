"""Projections over HTTP: how far behind they are, and what is asked of them as a whole."""

from datetime import timedelta
from typing import Any

import pytest

from domain.core.messages import Record
from projections.views.table import VIEWS
from tests.api.api import Api


async def test_they_are_listed_with_rows_and_lag(api: Api) -> None:
    listed = (await api.get("/projections"))["projections"]
    assert {each["name"] for each in listed} == set(VIEWS)
    rows = {each["name"]: each["rows"] for each in listed}
    assert (rows["hosts"], rows["flavors"], rows["instances"]) == (1, 1, 0)
    assert {each["lag"] for each in listed} == {0}
    assert {each["lag_seconds"] for each in listed} == {0.0}


async def test_what_the_projector_did_not_do_yet_is_lag(api: Api) -> None:
    await api.world.settle()
    api.world.stopped.add("projector")
    await api.post("/zones", {"name": "east"}, 201)
    api.world.now += timedelta(seconds=10)
    listed = (await api.get("/projections"))["projections"]
    assert {each["lag"] for each in listed} == {1}
    assert all(10 <= each["lag_seconds"] < 11 for each in listed)


async def test_lag_has_its_age_however_late_records_are_read(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    class Late:
        async def fetch(self, most: int, wait: float) -> list[Record]:
            return []

        async def close(self) -> None:
            pass

    async def late(*asked: Any) -> Late:
        return Late()

    await api.world.settle()
    api.world.stopped.add("projector")
    await api.post("/zones", {"name": "east"}, 201)
    api.world.now += timedelta(seconds=10)
    monkeypatch.setattr(api.services.log, "reader", late)
    listed = (await api.get("/projections"))["projections"]
    assert all(10 <= each["lag_seconds"] < 11 for each in listed)


async def test_a_run_is_asked_for_once_at_a_time_and_told_how_far_it_is(empty: Api) -> None:
    runs, clock = empty.services.runs, empty.world.clock
    asked = await empty.post("/projections/runs", {"kind": "rebuild"}, 202, X_GoStack_Actor="ann", Idempotency_Key="k")
    assert (asked["kind"], asked["status"], asked["actor"]) == ("rebuild", "asked", "ann")
    again = await empty.post("/projections/runs", {"kind": "rebuild"}, 202, X_GoStack_Actor="ann", Idempotency_Key="k")
    assert again == asked
    busy = await empty.post("/projections/runs", {"kind": "verify"}, 409)
    assert (busy["code"], busy["values"]) == ("projection-busy", {"id": asked["id"]})
    await runs.take(clock())
    empty.world.now += timedelta(seconds=10)
    await runs.report_progress(asked["id"], clock(), 250, 1000)
    running = await empty.get(f"/projections/runs/{asked['id']}")
    assert (running["status"], running["done"], running["total"]) == ("running", 250, 1000)
    assert 30 <= running["seconds_left"] < 31
    await runs.report_progress(asked["id"], clock(), 1000, 1000)
    settling = await empty.get(f"/projections/runs/{asked['id']}")
    assert settling["seconds_left"] is None, "what follows on the last event takes its time, too"
    await runs.end(asked["id"], clock(), ("instances x: it is missing",))
    ended = await empty.get(f"/projections/runs/{asked['id']}")
    assert (ended["status"], ended["problems"]) == ("finished", ["instances x: it is missing"])
    assert ended["seconds_left"] is None


async def test_runs_are_paged_from_the_newest(empty: Api) -> None:
    made = []
    for _ in range(3):
        made.append((await empty.post("/projections/runs", {"kind": "verify"}, 202))["id"])
        await empty.services.runs.take(empty.world.clock())
        await empty.services.runs.end(made[-1], empty.world.clock())
    first = await empty.get("/projections/runs", limit=2)
    assert [run["id"] for run in first["runs"]] == [made[2], made[1]]
    second = await empty.get("/projections/runs", limit=2, marker=first["next"])
    assert ([run["id"] for run in second["runs"]], second["next"]) == ([made[0]], None)


async def test_what_there_is_not_is_said(empty: Api) -> None:
    refused = await empty.post("/projections/runs", {"kind": "polish"}, 422)
    assert "rebuild" in str(refused["errors"])
    assert (await empty.get("/projections/runs/nobody", 404))["code"] == "not-found"
    assert (await empty.get("/projections/runs", 422, marker="nobody"))["code"] == "invalid"
