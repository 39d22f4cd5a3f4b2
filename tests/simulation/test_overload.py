"""Far more is asked for than the bounds allow: who comes too early is told when to come again, and everything that
was accepted comes to its end."""

import asyncio
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import httpx
import orjson
import pytest

from api.app import serve
from api.hosts.agent_client import Agents
from api.services import Services
from api.writes.admission import LONGEST_WAIT, SHORTEST_WAIT, UNDER_WAY, Admission
from api.writes.image_parts import ImageParts
from api.writes.secret_cleanup import SecretCleanup
from api.writes.verdicts import Verdicts
from domain.core.messages import Key
from domain.flavor import CreateFlavor
from domain.image import CreateImage
from domain.network.messages import CreateNetwork
from infra.process.settings import Settings
from infra.secrets.memory import MemorySecrets
from infra.secrets.segments import MemorySegments
from infra.webhooks.memory import MemoryDeliveries
from infra.webhooks.sender import Sender
from projections.history.replay import ThreadReplays
from projections.maintenance.runs_memory import MemoryRuns
from projections.views.view import Condition
from tests.api.api import application
from tests.domain.instances import NETWORK
from tests.simulation.cluster import Cluster
from tests.simulation.history import _id, _rest
from tests.simulation.loop import simulate
from tests.simulation.processes import factory

BOOTS = 150
LIMITS = {"max_in_flight": 20, "max_waiting": 30, "max_tasks": 12, "max_project_tasks": 6}
PROJECTS = ("a", "a", "a", "b", "c")
SLACK = 4
"""Tasks above the bound: those in flight between two looks."""
PATIENCE = 3600.0
SEEN_EVERY = 0.2


class Offered:
    """What many clients ask for, who come again when they are told to."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self.answers: Counter[int] = Counter()
        self.bounds: Counter[str] = Counter()
        self.accepted: dict[str, str] = {}
        """Command -> instance."""

    async def ask(self, method: str, path: str, key: str, project: str, body: Any = None) -> dict[str, Any]:
        """The same until it is accepted."""
        loop = asyncio.get_running_loop()
        until = loop.time() + PATIENCE
        while loop.time() < until:
            headers = {"Idempotency-Key": key, "X-GoStack-Project": project}
            answer = await self._http.request(method, path, json=body, headers=headers)
            self.answers[answer.status_code] += 1
            if answer.status_code == 202:
                told: dict[str, Any] = answer.json()
                return told
            assert answer.status_code in (429, 503), answer.text
            if answer.status_code == 429:
                assert answer.json()["code"] == "overloaded"
                self.bounds[answer.json()["values"]["bound"]] += 1
            seconds = int(answer.headers["Retry-After"])
            assert SHORTEST_WAIT <= seconds <= LONGEST_WAIT
            await asyncio.sleep(seconds)
        raise AssertionError(f"{key} was never accepted")

    async def boot_and_perhaps_delete(self, number: int) -> None:
        project = PROJECTS[number % len(PROJECTS)]
        body = {"name": f"i{number}", "flavor": "small", "image": "tiny", "network": NETWORK}
        told = await self.ask("POST", "/v1/instances", f"boot-{number}", project, body)
        self.accepted[told["command_id"]] = told["id"]
        if number % 3 == 0:
            await asyncio.sleep(20)
            gone = await self.ask("DELETE", f"/v1/instances/{told['id']}?hard=true", f"delete-{number}", project)
            self.accepted[gone["command_id"]] = told["id"]


def services_beside(cluster: Cluster, directory: Path) -> Services:
    """An API beside these processes."""
    settings = Settings()
    settings.api = settings.api.model_copy(update=LIMITS)
    secrets = MemorySecrets()
    secret_cleanup = SecretCleanup(secrets)
    admission = Admission(settings, cluster.log, cluster.store, cluster.write_stores)
    return Services(
        log=cluster.log,
        store=cluster.store,
        runs=MemoryRuns(),
        replays=ThreadReplays(cluster.log),
        secrets=secrets,
        segments=MemorySegments(),
        settings=settings,
        clock=cluster.processes["timers"].clock,
        verdicts=Verdicts(cluster.log, secret_cleanup.later, admission),
        secret_cleanup=secret_cleanup,
        agents=Agents(cluster.store, "token"),
        images=ImageParts.of(settings, cluster.log, cluster.store, cluster.processes["timers"].clock),
        admission=admission,
        deliveries=MemoryDeliveries(),
        sender=Sender(1, allow_private=False),
        deciding=cluster.write_stores,
    )


async def overload(directory: Path, seed: int, kills: tuple[str, ...]) -> tuple[Offered, int]:
    """What was answered, and the most tasks that were under way at once."""
    random = Random(seed)
    asyncio.get_running_loop().set_task_factory(factory)  # type: ignore[arg-type]
    cluster = Cluster(random)
    cluster.weather.chance = 0.0
    await cluster.start()
    await cluster.send(_id(random), Key("network", NETWORK), CreateNetwork(name="lan", cidr="10.0.0.0/16", segment=1))
    await cluster.send(_id(random), Key("flavor", _id(random)), CreateFlavor(name="small", core=1, memory=1 << 20))
    content: Any = {"checksum": "0" * 64, "format": "qcow2", "size": 1, "virtual_size": 1 << 20}
    image = CreateImage(name="tiny", visibility="public", **content)
    await cluster.send(_id(random), Key("image", _id(random)), image)
    while not await cluster.store.count("flavors") * await cluster.store.count("images"):
        await cluster.log.wait(1)
    services = services_beside(cluster, directory)
    app = application(services.settings.api.max_body)
    serve(app, services)
    await services.verdicts.open()
    behind = [asyncio.create_task(each) for each in (services.verdicts.run(), services.admission.run())]
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            tasks = await cluster.store.totals("tasks", "project", [Condition("status", "in", UNDER_WAY)])
            most = max(most, sum(count for (count,) in tasks.values()))
            await asyncio.sleep(SEEN_EVERY)

    behind.append(asyncio.create_task(watch()))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=None) as http:
        offered = Offered(http)
        clients = [asyncio.create_task(offered.boot_and_perhaps_delete(number)) for number in range(BOOTS)]
        for name in kills:
            await asyncio.sleep(3)
            cluster.processes[name].kill()
        await asyncio.gather(*clients)
    for task in behind:
        task.cancel()
    report = await _rest(cluster)
    assert report.lines == []
    assert not report.moving
    assert [state.id for state in report.seen.instances if state.task] == []
    for command_id, instance_id in offered.accepted.items():
        verdict = await cluster.store.get("verdicts", command_id)
        assert verdict is not None, f"command {command_id} was accepted and has no verdict"
        assert orjson.loads(verdict.doc)["verdict"] == "accepted"
        found = await cluster.store.get("tasks", command_id)
        assert found is not None
        assert orjson.loads(found.doc)["status"] == "finished", found.doc
        assert await cluster.store.get("instances", instance_id) is not None
    return offered, most


@pytest.mark.parametrize("kills", [(), ("engine-1", "h1", "scheduler-1", "projector", "engine-2")])
def test_everything_accepted_ends_and_the_rest_is_told_when_to_come_again(
    tmp_path: Path, kills: tuple[str, ...]
) -> None:
    offered, most = simulate(overload(tmp_path, 7, kills))
    assert len(offered.accepted) == BOOTS + BOOTS // 3
    assert offered.answers[202] == len(offered.accepted)
    assert offered.answers[429] > BOOTS
    assert {"api.max_project_tasks", "api.max_tasks"} <= set(offered.bounds)
    assert most <= LIMITS["max_tasks"] + SLACK
