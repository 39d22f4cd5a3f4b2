"""The table of metrics, the page and the dashboard made for it, and the door it is served at."""

import asyncio
import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest

from infra.local.server import free_port
from infra.log.lag import Lag, Lags
from infra.process import metrics
from infra.process.health_server import SLACK, HealthState, measure_health, start_health_server

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "infra" / "grafana" / "gostack.json"


def test_the_printed_page_is_the_table() -> None:
    assert (ROOT / "docs" / "metrics.md").read_text() == metrics.page()


def test_names_are_as_prometheus_wants_them() -> None:
    names = [each.name for each in metrics.METRICS]
    assert len(names) == len(set(names))
    for each in metrics.METRICS:
        assert re.fullmatch(r"gostack_[a-z_]+", each.name)
        assert each.name.endswith("_total") == (each.kind == "counter")


def _series() -> set[str]:
    names = set(metrics.EVERY)
    for each in metrics.METRICS:
        names |= {each.name + end for end in ("_bucket", "_sum", "_count")} if each.kind == "histogram" else {each.name}
    return names


def test_the_dashboard_asks_for_nothing_that_is_not_there_and_shows_all_there_is() -> None:
    asked = {
        name
        for panel in json.loads(DASHBOARD.read_text())["panels"]
        for target in panel["targets"]
        for name in re.findall(r"\b(?:gostack|process)_[a-z_]+\b", target["expr"])
    }
    assert asked - _series() == set()
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    assert {each.name for each in metrics.METRICS} - shown == set()


@pytest.mark.parametrize("name", ["gostack_outbox_records", "gostack_parked_aggregates", "gostack_api_load"])
def test_what_each_process_tells_of_all_is_not_summed_up(name: str) -> None:
    asked = [target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel["targets"]]
    assert [each.split()[0] for each in asked if name in each] == ["max"]


def test_the_registry_gives_what_the_page_promises_of_each_process() -> None:
    names = {sample.name for family in metrics.REGISTRY.collect() for sample in family.samples}
    assert names >= set(metrics.EVERY)


@pytest.fixture
def served() -> Iterator[tuple[str, HealthState]]:
    health, port = HealthState(5.0), free_port()
    server = start_health_server("127.0.0.1", port, health)
    assert server is not None
    yield f"http://127.0.0.1:{port}", health
    server.should_exit = True


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_process_is_probed_at_its_port(served: tuple[str, HealthState]) -> None:
    url, health = served
    metrics.DEADLINES.inc(0)
    assert "gostack_deadlines_total" in _get(f"{url}/metrics")[1]
    assert _get(f"{url}/healthz") == (200, '{"status": "ok"}\n')
    status, told = _get(f"{url}/readyz")
    assert (status, json.loads(told)["problem"]) == (503, "not measured yet")
    health.succeeded({"gostack.jobs": Lag(3, 1.5)})
    waits = {"gostack.jobs": {"records": 3, "seconds": 1.5}}
    status, told = _get(f"{url}/readyz")
    assert (status, json.loads(told)) == (200, {"status": "ready", "lag": waits})
    health.failed("no broker")
    told = _get(f"{url}/readyz")[1]
    assert json.loads(told) == {"status": "not ready", "problem": "no broker", "lag": waits}
    assert _get(f"{url}/other")[0] == 404


def test_without_a_port_nothing_is_served() -> None:
    assert start_health_server("127.0.0.1", 0, HealthState(5.0)) is None


def test_a_loop_that_hangs_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    health = HealthState(5.0)
    health.succeeded()
    assert health.problem() == ""
    beat = health._succeeded_at
    assert beat is not None
    monkeypatch.setattr("infra.process.health_server.time.monotonic", lambda: beat + 5.0 * SLACK + 1)
    assert health.problem() == "no successful measurement for 21 s"


async def test_what_is_away_is_waited_out_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(seconds: float) -> None:
        assert seconds == 5.0

    monkeypatch.setattr("infra.process.loops.asyncio.sleep", at_once)
    health = HealthState(5.0)
    looks = iter([ConnectionError("no database"), None])
    problems = []

    async def look() -> Lags:
        problems.append(health.problem())
        match next(looks, "over"):
            case Exception() as error:
                raise error
            case "over":
                raise asyncio.CancelledError
        return {}

    with pytest.raises(asyncio.CancelledError):
        await measure_health(health, look, (ConnectionError,))
    assert problems == ["not measured yet", "no database", ""]
