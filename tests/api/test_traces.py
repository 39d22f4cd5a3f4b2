"""A trace of a boot: from the request over the log to the hypervisor, and back into the tables."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from api.http.timing import TRACE
from domain.core.messages import Topic, from_record
from infra.process import traces
from tests.api.api import Api
from tests.harness.spans import Spans, collected
from tests.harness.whole import ended, whole

ON_THE_HOST = {
    "job PrepareImage": {"hypervisor prepare_image": {}},
    "job CreateDisk": {"hypervisor create_disk": {}},
    "job WriteConfigDrive": {"hypervisor told": {}, "hypervisor write_config_drive": {}},
    "job PlugPorts": {"hypervisor plug": {}},
    "job DefineGuest": {
        "hypervisor told": {},
        "hypervisor write_config_drive": {},
        "hypervisor define": {},
        "hypervisor power": {},
    },
    "job StartGuest": {"hypervisor start": {}, "hypervisor power": {}},
    "send job.jobs-answered": {
        "decide job.jobs-answered": {"project task.steps-finished": {}, "project task.finished": {}}
    },
}
BOUND = {
    "send job.dispatch-host-jobs": {"run job.dispatch-host-jobs": ON_THE_HOST},
    "project task.steps-finished": {},
    "project task.steps-dispatched": {},
}
PLACED = {
    "send network.bind-port": {
        "decide network.bind-port": {
            "send job.jobs-answered": {"decide job.jobs-answered": BOUND},
            "project network.port-created": {},
            "project network.port-bound-to-instance": {},
        }
    },
    "project task.steps-finished": {},
    "project task.steps-dispatched": {},
}
BOOT = {
    "send instance.boot": {
        "decide instance.boot": {
            "send scheduling.place-instance": {
                "decide scheduling.place-instance": {
                    "place": {},
                    "send job.jobs-answered": {"decide job.jobs-answered": PLACED},
                    "project host.claim-made": {},
                }
            },
            "project instance.created": {},
            "project task.accepted": {},
            "project task.steps-dispatched": {},
        }
    }
}
"""A boot's spans, each with those below it."""

REMOTE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans() -> Iterator[Spans]:
    with collected() as found:
        yield found


@pytest.fixture
async def api(tmp_path: Path, spans: Spans) -> AsyncIterator[Api]:
    async with whole(tmp_path) as made:
        yield made


async def boot(api: Api, **headers: str) -> tuple[str, str]:
    """Boot an instance; its task, and the trace that the answer named."""
    body = {"name": "web", "flavor": "small", "image": "tiny", "network": "lan"}
    answer = await api.http.post("/v1/instances", json=body, headers=headers)
    assert answer.status_code == 202, answer.text
    task = answer.json()["task_id"]
    assert (await ended(api, task))["status"] == "finished"
    await api.world.settle()
    return task, answer.headers[TRACE.decode()].split("-")[1]


async def test_a_boot_is_one_trace_from_the_request_to_the_hypervisor_and_the_tables(api: Api, spans: Spans) -> None:
    _, trace = await boot(api)
    (request,) = spans.named("POST /v1/instances")
    assert f"{request.context.trace_id:032x}" == trace
    assert request.parent is None
    assert spans.tree(request) == BOOT


async def test_spans_say_whose_they_are(api: Api, spans: Spans) -> None:
    task, _ = await boot(api)
    (running,) = spans.named("run job.dispatch-host-jobs")
    about = dict(running.attributes or {})
    assert about["gostack.task"] == task
    assert about["gostack.host"]
    (decided,) = spans.named("decide instance.boot")
    about = dict(decided.attributes or {})
    assert about["messaging.destination.name"] == "gostack.commands"
    assert str(about["gostack.place"]).startswith("gostack.commands:")
    assert about["gostack.command"] == task


async def test_a_request_goes_on_with_the_trace_it_brings(api: Api, spans: Spans) -> None:
    _, trace = await boot(api, traceparent=REMOTE)
    assert trace == REMOTE.split("-")[1]
    (request,) = spans.named("POST /v1/instances")
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == REMOTE.split("-")[2]
    (start,) = spans.named("hypervisor start")
    assert start.context.trace_id == request.context.trace_id


async def test_a_trace_that_is_not_sampled_is_not_followed_and_stays_what_it_is(api: Api, spans: Spans) -> None:
    spans.exporter.clear()
    body = {"name": "web", "flavor": "small", "image": "tiny", "network": "lan"}
    unsampled = REMOTE.removesuffix("1") + "0"
    answer = await api.http.post("/v1/instances", json=body, headers={"traceparent": unsampled})
    assert (await ended(api, answer.json()["task_id"]))["status"] == "finished"
    assert TRACE.decode() not in answer.headers
    own = [each for each in spans.all() if f"{each.context.trace_id:032x}" == unsampled.split("-")[1]]
    assert own == []
    commands = [from_record(record) for record in api.world.log.all(Topic.COMMANDS)]
    assert unsampled in {each.traceparent for each in commands}


async def test_the_share_that_is_sampled_may_be_none(tmp_path: Path) -> None:
    with collected(sample=0.0) as spans:
        async with whole(tmp_path) as api:
            given = await api.boot(network="lan")
            assert (await ended(api, given["task_id"]))["status"] == "finished"
    assert spans.all() == []
    # Nor is there a header on any record, for ever, that leads nowhere.
    for topic in Topic:
        assert all("traceparent" not in dict(each.headers) for each in api.world.log.all(topic))


@pytest.mark.parametrize("garbage", ["x", "00-0-0-01", "00-" + "0" * 32 + "-b7ad6b7169203331-01", "a" * 255])
async def test_what_is_no_trace_context_is_left_out(tmp_path: Path, garbage: str) -> None:
    async with whole(tmp_path) as api:
        given = await api.boot(network="lan", headers={"traceparent": garbage})
        assert (await ended(api, given["task_id"]))["status"] == "finished"
        assert {from_record(each).traceparent for each in api.world.log.all(Topic.COMMANDS)} == {""}


async def test_off_a_trace_that_comes_passes_through(tmp_path: Path) -> None:
    async with whole(tmp_path) as api:
        given = await api.boot(network="lan", headers={"traceparent": REMOTE})
        assert (await ended(api, given["task_id"]))["status"] == "finished"
        assert not traces.on()
        jobs = [from_record(each) for each in api.world.log.all(Topic.JOBS)]
        assert {each.traceparent for each in jobs} == {REMOTE}


async def test_a_failed_job_is_an_error_in_its_trace(tmp_path: Path, spans: Spans) -> None:
    from agent.drivers.simulated.driver import SimulatedDriver

    async with whole(tmp_path, {"h1": SimulatedDriver(failures={"DefineGuest": 1.0})}) as api:
        given = await api.boot(network="lan")
        assert (await ended(api, given["task_id"]))["status"] == "failed"
    failed = {each.name for each in spans.all() if not each.status.is_unset}
    assert failed == {"job DefineGuest", "hypervisor define"}
    (request,) = spans.named("POST /v1/instances")
    assert {each.context.trace_id for each in spans.named("job DeleteDisk")} == {request.context.trace_id}


async def test_what_is_only_looked_at_is_traced_and_the_feed_and_health_are_not(api: Api, spans: Spans) -> None:
    spans.exporter.clear()
    await api.get("/flavors/small")
    await api.http.get("/healthz")
    await api.http.get("/readyz")
    async with asyncio.timeout(5), api.http.stream("GET", "/v1/flavors/none"):
        pass
    assert [each.name for each in spans.all()] == ["GET /v1/flavors/{ref}", "GET /v1/flavors/{ref}"]
