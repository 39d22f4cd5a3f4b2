"""gs scheduler simulate: the policy from a file, the differences as tables, and where to go on."""

import json
from pathlib import Path
from typing import Any

import pytest

from api.openapi import examples
from tests.cli.conftest import Gs, Service, problem

ROUTE = "POST /v1/scheduler/simulate"
FROM = ("--from", "2d")


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "packing.yaml"
    path.write_text("weights:\n  free-memory: -1\nratios: {vcpus: 8}\n")
    return path


def simulated(**changes: Any) -> dict[str, Any]:
    return {**examples.SIMULATION, **changes}


def test_what_differs_is_told_in_tables(gs: Gs, service: Service, policy: Path) -> None:
    service.on(ROUTE, simulated())
    done = gs("scheduler", "simulate", "--policy", str(policy), *FROM, "--to", "1h", "--limit", "5")
    assert done.exit_code == 0, done.output
    sent = {"policy": {"weights": {"free-memory": -1}, "ratios": {"vcpus": 8}}, "from": "2d", "to": "1h", "limit": 5}
    assert json.loads(service.asked[0].content) == sent
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0][:4] == ["FLEET", "PLACED", "REFUSED", "REFUSALS"]
    assert [line[0] for line in lines[1:3]] == ["was", "would"]
    assert ["h1", "h2", "1"] in lines
    assert "h2 scores 0, h1 -1" in done.stdout
    assert "1 requests from 20" in done.stderr
    assert "There are more" not in done.stderr


def test_machines_get_all_of_it(gs: Gs, service: Service, policy: Path) -> None:
    service.on(ROUTE, simulated(next="2026-01-02T00:00:00Z"))
    done = gs("scheduler", "simulate", "--policy", str(policy), *FROM, "-o", "json")
    assert json.loads(done.stdout) == simulated(next="2026-01-02T00:00:00Z")
    assert "--from 2026-01-02T00:00:00Z goes on there" in done.stderr


def test_a_past_that_is_not_understood_is_told(gs: Gs, service: Service, policy: Path) -> None:
    reproduced = {"same": 0, "differ": 1, "unknown": 2, "why": [{"why": "other weights were in force", "count": 1}]}
    service.on(ROUTE, simulated(reproduced=reproduced, more_hosts=7))
    done = gs("scheduler", "simulate", "--policy", str(policy), *FROM)
    assert "1 are not decided now as they were then: other weights were in force" in done.stderr
    assert "2 refusals are left out" in done.stderr
    assert "and 7 hosts more" in done.stderr


def test_json_is_a_policy_too_and_an_empty_one_changes_nothing(gs: Gs, service: Service, tmp_path: Path) -> None:
    service.on(ROUTE, simulated())
    path = tmp_path / "same.json"
    path.write_text("{}")
    assert gs("scheduler", "simulate", "--policy", str(path), *FROM).exit_code == 0
    assert json.loads(service.asked[0].content) == {"from": "2d"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("filter: [vcpu]", "there is no field 'filter'; there are filters, weights, ratios"),
        ("filters: vcpu", "filters must be a list of names"),
        ("weights: [free-vcpu]", "weights must be numbers by name"),
        ("ratios: {vcpus: .nan}", "neither a name nor a number"),
        ("weights: {free-vcpu: 2026-01-01}", "neither a name nor a number"),
        ("- vcpu", "holds no fields"),
        ("", "holds no fields"),
        ("{", "neither YAML nor JSON"),
    ],
)
def test_a_file_that_is_no_policy_says_why(gs: Gs, tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "policy"
    path.write_text(text)
    done = gs("scheduler", "simulate", "--policy", str(path), *FROM)
    assert done.exit_code == 2
    assert told in done.stderr


def test_a_file_that_is_not_there_is_named(gs: Gs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where a line is broken depends on how long the directory's name is.
    monkeypatch.setenv("COLUMNS", "500")
    done = gs("scheduler", "simulate", "--policy", str(tmp_path / "none"), *FROM)
    assert done.exit_code == 2
    assert "cannot be read" in done.stderr


def test_what_the_service_refuses_is_told_with_the_field(gs: Gs, service: Service, policy: Path) -> None:
    service.on(ROUTE, problem("invalid", 422, "policy.weights is luck: it must be one of free-memory, free-vcpu."))
    done = gs("scheduler", "simulate", "--policy", str(policy), *FROM)
    assert done.exit_code != 0
    assert "policy.weights is luck: it must be one of" in done.stderr


def test_every_hosts_score_is_told_in_pages(gs: Gs, service: Service) -> None:
    service.on("GET /v1/instances", {"instances": [{"id": "i", "name": "web"}]})
    service.on("GET /v1/instances/i/placements/scores", {**examples.SCORES, "next": "h", "differs": "why"})
    done = gs("scheduler", "explain", "web", "--all", "--limit", "2", "--marker", "g", "--at", "gostack.events/5/17")
    assert done.exit_code == 0, done.output
    assert dict(service.asked[-1].url.params) == {"limit": "2", "marker": "g", "at": "gostack.events/5/17"}
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[1:] == [["h1", "1.75", "-", "-"], ["h2", "-", "vcpu", "short", "of", "vCPUs"]]
    assert "There are more: --marker h" in done.stderr
    assert "not just as it was decided: why." in done.stderr


def test_what_goes_with_all_is_refused_without(gs: Gs) -> None:
    done = gs("scheduler", "explain", "web", "--limit", "2")
    assert done.exit_code == 2
    assert "--limit needs --all." in done.stderr
