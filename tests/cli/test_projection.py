"""gs projection: it waits, tells how far it is, and its status says whether all was well."""

import json
from typing import Any

import pytest

from tests.cli.conftest import Gs, Service, problem


def run(status: str, **more: Any) -> dict[str, Any]:
    whole = {"id": "r", "kind": "rebuild", "status": status, "done": 0, "total": 0, "problems": [], "error": ""}
    return {**whole, "seconds_left": None, **more}


def test_a_rebuild_is_waited_for_and_told_of(gs: Gs, service: Service) -> None:
    service.on("POST /v1/projections/runs", run("asked"), status=202)
    middle = run("running", done=5, total=10, seconds_left=7.4)
    service.on("GET /v1/projections/runs/r", run("asked"), middle, run("finished", done=10, total=10))
    done = gs("projection", "rebuild", "-o", "json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["status"] == "finished"
    assert "rebuild: 5 of 10 events, 7 s to go" in done.stderr
    assert json.loads(service.asked[0].content) == {"kind": "rebuild"}


@pytest.mark.parametrize(
    ("kind", "now", "line"),
    [
        ("rebuild", {"done": 10, "total": 10}, "rebuild: 10 of 10 events; makes indexes, then exchanges"),
        ("verify", {"done": 10, "total": 10}, "verify: 10 of 10 events; compares"),
        ("rollback", {}, "rollback: brings the earlier ones up to date, then exchanges"),
        ("verify", {}, "verify: running"),
    ],
)
def test_what_a_run_does_when_no_events_are_left_is_told(
    gs: Gs, service: Service, kind: str, now: dict[str, Any], line: str
) -> None:
    service.on("POST /v1/projections/runs", run("asked", kind=kind), status=202)
    ended = run("finished", kind=kind)
    service.on("GET /v1/projections/runs/r", run("asked", kind=kind), run("running", kind=kind, **now), ended)
    told = gs("projection", kind).stderr.splitlines()
    assert told == [f"{kind}: asked", line]


def test_without_waiting_it_is_only_asked_for(gs: Gs, service: Service) -> None:
    service.on("POST /v1/projections/runs", run("asked"), status=202)
    done = gs("projection", "verify", "--no-wait", "-o", "json")
    assert (done.exit_code, json.loads(done.stdout)["status"]) == (0, "asked")


def test_differences_are_a_failure(gs: Gs, service: Service) -> None:
    service.on("POST /v1/projections/runs", run("asked"), status=202)
    service.on("GET /v1/projections/runs/r", run("finished", problems=["hosts h: it is missing"]))
    done = gs("projection", "verify")
    assert done.exit_code == 1
    assert "hosts h: it is missing" in done.stdout


def test_what_failed_says_why(gs: Gs, service: Service) -> None:
    service.on("POST /v1/projections/runs", run("asked"), status=202)
    service.on("GET /v1/projections/runs/r", run("failed", error="NoPrevious: there is no earlier generation"))
    done = gs("projection", "rollback")
    assert done.exit_code == 1
    assert "rollback failed: NoPrevious" in done.stderr


def test_another_one_is_refused(gs: Gs, service: Service) -> None:
    service.on("POST /v1/projections/runs", problem("projection-busy", 409, "Run r is under way."))
    done = gs("projection", "rebuild")
    assert done.exit_code != 0
    assert "Run r is under way." in done.stderr


def test_lists(gs: Gs, service: Service) -> None:
    service.on("GET /v1/projections", {"projections": [{"name": "hosts", "rows": 3, "lag": 4, "lag_seconds": 0.5}]})
    assert "hosts" in gs("projection", "list").stdout
    service.on("GET /v1/projections/runs", {"runs": [run("finished")], "next": "r"})
    done = gs("projection", "runs", "--limit", "1")
    assert "finished" in done.stdout
    assert "--marker r" in done.stderr
    service.on("GET /v1/projections/runs/r", run("finished"))
    assert gs("projection", "show", "r").exit_code == 0
