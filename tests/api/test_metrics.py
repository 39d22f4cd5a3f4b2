"""What boots leave in the metrics of engine, scheduler, projector and API."""

from typing import Any

from infra.process.metrics import REGISTRY
from tests.api.api import Api
from tests.harness.metrics import counted

BOOT = "gostack.instance.boot.v1"
ROUTE = {"method": "POST", "route": "/instances"}


async def test_a_boot_is_counted_where_it_passes(api: Api) -> None:
    asked: list[tuple[str, dict[str, Any]]] = [
        ("gostack_verdicts_total", {"process": "engine", "command": BOOT, "verdict": "accepted", "code": ""}),
        ("gostack_placements_total", {"result": "placed"}),
        ("gostack_api_request_seconds_count", {**ROUTE, "status": 202}),
    ]
    before = [counted(name, **labels) for name, labels in asked]
    steps = counted("gostack_step_seconds_count", process="engine")
    batches = counted("gostack_projector_batch_seconds_count")
    await api.booted("web")
    assert [counted(name, **labels) for name, labels in asked] == [value + 1 for value in before]
    assert counted("gostack_step_seconds_count", process="engine") > steps
    assert counted("gostack_projector_batch_seconds_count") > batches


async def test_refusals_are_counted_by_code(api: Api) -> None:
    before = counted("gostack_placements_total", result="no-valid-host")
    await api.post("/flavors", {"name": "huge", "core": 256, "memory": 1 << 29})
    answer = await api.boot("big", flavor="huge")
    assert (await api.ended(answer["task_id"]))["status"] == "failed"
    assert counted("gostack_placements_total", result="no-valid-host") == before + 1


async def test_an_unknown_path_makes_no_metric_of_its_own(api: Api) -> None:
    before = counted("gostack_api_request_seconds_count", method="GET", route="unknown", status=404)
    await api.http.get("/v1/nothing/of/the/kind")
    assert counted("gostack_api_request_seconds_count", method="GET", route="unknown", status=404) == before + 1
    routes = {
        sample.labels["route"]
        for family in REGISTRY.collect()
        if family.name == "gostack_api_request_seconds"
        for sample in family.samples
    }
    assert "/v1/nothing/of/the/kind" not in routes
