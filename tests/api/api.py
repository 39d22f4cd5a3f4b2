"""The API on a running world, with what most tests need made: a host, a flavor, an image, a network."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import orjson
from fastapi import FastAPI
from opentelemetry.trace import TracerProvider

from api.app import routed, serve
from api.hosts.agent_client import Agents
from api.http.caller_guard import OwnNames
from api.services import Services
from api.writes.admission import Admission
from api.writes.image_parts import ImageParts
from api.writes.secret_cleanup import SecretCleanup
from api.writes.verdicts import Verdicts
from domain.core.messages import Decision, Envelope
from domain.instance import decider
from domain.instance.actions.power.stop import StopInstance
from domain.instance.state import Instance
from infra.process import traces
from infra.process.settings import Settings
from infra.webhooks.memory import MemoryDeliveries
from infra.webhooks.sender import Sender
from projections.history.replay import ThreadReplays
from projections.maintenance.runs_memory import MemoryRuns
from tests.harness.world import World

GIB = 1 << 30
MIB = 1 << 20
RAW = bytes(1000)
"""An image that is as it is: a raw disk of zeros."""
IMAGE_PATIENCE = 20.0
TOKEN = "agents-and-api"
VERDICT_TIMEOUT = 0.5
SEND_TIMEOUT = 10.0
READ_TIMEOUT = 0.5
GAP = re.compile(r"\{[^}]*\}")
"""In an operation's path."""
UNFORESEEN = 500
"""A fault of ours, of which nothing is promised."""
GOLDEN = Path(__file__).parents[2] / "docs" / "openapi.json"


def _reviewed() -> dict[str, Any]:
    try:
        found: dict[str, Any] = orjson.loads(GOLDEN.read_bytes())
    except orjson.JSONDecodeError as error:
        raise ValueError("this is no description: python -m api.description > docs/openapi.json") from error
    return found


DESCRIBED = _reviewed()
"""The description as it was reviewed. One test holds it to the routes; the others read it, since to make it takes as
long as a hundred requests."""


@dataclass
class HostDoor:
    """The agents' own endpoints, as the API calls them."""

    console: bytes = b"one\ntwo\nthree\n"
    disks: object = ()
    status: int = 200
    calls: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.calls.append(request)
        if self.status != 200:
            return httpx.Response(self.status, json={"code": "guest-off", "detail": "the guest is off"})
        if request.url.path.endswith("/console"):
            most = int(request.url.params["most"])
            return httpx.Response(200, content=self.console[-most:])
        if request.url.path.endswith("/disks"):
            return httpx.Response(200, json={"disks": self.disks})
        return httpx.Response(200, json={"host": "10.1.0.11", "port": 5900, "password": "p", "valid_seconds": 300})


@dataclass
class Api:
    """A client, and what is behind it."""

    http: httpx.AsyncClient
    app: FastAPI
    world: World
    services: Services
    door: HostDoor
    agent: Any = None
    """The agent service, where real agents do the hosts' jobs."""

    async def get(self, path: str, status: int = 200, /, **params: Any) -> Any:
        """The JSON of a GET that must end so."""
        answer = await self.http.get(f"/v1{path}", params=params)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def post(self, path: str, body: Any = None, status: int = 201, **headers: str) -> Any:
        """The JSON of a POST that must end so."""
        answer = await self.http.post(f"/v1{path}", json=body, headers=_headers(headers))
        assert answer.status_code == status, answer.text
        return answer.json()

    async def patch(self, path: str, body: Any, status: int = 200, **headers: str) -> Any:
        """The JSON of a PATCH that must end so."""
        answer = await self.http.patch(f"/v1{path}", json=body, headers=_headers(headers))
        assert answer.status_code == status, answer.text
        return answer.json()

    async def delete(self, path: str, status: int = 200, **headers: str) -> Any:
        """The JSON of a DELETE that must end so."""
        answer = await self.http.delete(f"/v1{path}", headers=_headers(headers))
        assert answer.status_code == status, answer.text
        return answer.json()

    def floating(self, ranges: str = "192.0.2.0/28") -> None:
        """Let there be floating addresses."""
        settings = self.services.settings
        settings.networks = settings.networks.model_copy(update={"floating": ranges})

    async def furnish(self) -> None:
        """A host, a flavor `small`, an image `tiny`, a network `lan`."""
        await self.world.host("h1")
        await self.post("/flavors", {"name": "small", "core": 1, "memory": 512 * MIB})
        await self.image("tiny")
        await self.post("/networks", {"name": "lan", "cidr": "10.0.0.0/24"})

    def stored(self) -> dict[str, bytes]:
        """The files of the image store."""
        return {path.name: path.read_bytes() for path in self.store.iterdir() if path.is_file()}

    @property
    def store(self) -> Path:
        """The directory of the image store."""
        return Path(self.services.settings.images.store)

    async def image(self, name: str, content: bytes = RAW, **more: Any) -> Any:
        """An active image of these bytes, which every project may use."""
        made = await self.uploaded(name, content, **{"visibility": "public", **more})
        assert made["status"] == "active", made["failure"]
        return made

    async def uploaded(self, name: str, content: bytes = RAW, **more: Any) -> Any:
        """An image of these bytes, once they were verified."""
        image = await self.post("/images", {"name": name, **more})
        answer = await self.piece(image["id"], content, 0, len(content))
        assert answer.status_code == 200, answer.text
        return await self.verified(image["id"])

    async def piece(self, image_id: str, content: bytes, offset: int, size: int) -> httpx.Response:
        """The answer to a piece of an image."""
        path = f"/v1/images/{image_id}/file"
        return await self.http.patch(path, content=content, params={"offset": offset, "size": size})

    async def verified(self, image_id: str) -> Any:
        """The image, once it is active or has failed."""
        async with asyncio.timeout(IMAGE_PATIENCE):
            while (image := await self.get(f"/images/{image_id}"))["status"] not in ("active", "failed"):
                await self.world.log.wait(0.005)
        return image

    async def boot(
        self, name: str | None = "web", status: int = 202, headers: dict[str, str] | None = None, **more: Any
    ) -> Any:
        """Ask for an instance."""
        body = {"name": name, "flavor": "small", "image": "tiny", **more}
        answer = await self.http.post("/v1/instances", json=body, headers=headers or {})
        assert answer.status_code == status, answer.text
        return answer.json()

    async def booted(self, name: str = "web", **more: Any) -> Any:
        """An instance that runs."""
        given = await self.boot(name, **more)
        await self.ended(given["task_id"])
        return await self.get(f"/instances/{given['id']}")

    async def parked(self, name: str = "web") -> Any:
        """An instance that runs, and takes no commands since a stop of it met a fault."""
        web = await self.booted(name)
        decide = decider.decide

        def broken(state: Instance | None, envelope: Envelope) -> Decision:
            if isinstance(envelope.data, StopInstance):
                raise ZeroDivisionError("boom")
            return decide(state, envelope)

        with patch.object(decider, "decide", broken):
            assert (await self.post(f"/instances/{name}/actions/stop", status=409))["code"] == "parked"
        return web

    async def ended(self, task_id: str) -> Any:
        """The task, once everything that follows has happened."""
        await self.world.settle()
        return await self.get(f"/tasks/{task_id}")


def _headers(given: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in given.items()}


class Declared:
    """What the description of the API says that its operations answer: tests are answered nothing else by them."""

    def __init__(self) -> None:
        paths = DESCRIBED["paths"]
        # Of two that fit, the one with fewer gaps is meant.
        self._operations = [
            (re.compile(GAP.sub("[^/]+", path)), operations)
            for path, operations in sorted(paths.items(), key=lambda item: item[0].count("{"))
        ]

    async def must_have(self, answer: httpx.Response) -> None:
        """That its status is one of the operation's; what is no operation has none."""
        path, method = answer.request.url.path, answer.request.method.lower()
        for pattern, operations in self._operations:
            if method in operations and pattern.fullmatch(path) and answer.status_code != UNFORESEEN:
                declared = operations[method]["responses"]
                assert str(answer.status_code) in declared, f"{method} {path}: {answer.status_code} is not described"
                return


@asynccontextmanager
async def serving(directory: Path, **api_settings: Any) -> AsyncIterator[Api]:
    """The API on a world that goes on by itself."""
    world = World()
    await world.start()
    settings = Settings()
    settings.api = settings.api.model_copy(
        update={"verdict_timeout": VERDICT_TIMEOUT, "read_timeout": READ_TIMEOUT, **api_settings}
    )
    images = {"store": str(directory / "images"), "max_size": 4 * MIB, "allow_private": True}
    settings.images = settings.images.model_copy(update=images)
    settings.webhooks = settings.webhooks.model_copy(update={"allow_private": True})
    door = HostDoor()
    sender = Sender(SEND_TIMEOUT, allow_private=True, tls=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    secret_cleanup = SecretCleanup(world.secrets)
    deciding = {"engine": world.engine_write_store, "scheduler": world.scheduler_write_store}
    admission = Admission(settings, world.log, world.store, deciding)
    verdicts = Verdicts(world.log, secret_cleanup.later, admission)
    services = Services(
        log=world.log,
        store=world.store,
        runs=MemoryRuns(),
        replays=ThreadReplays(world.log),
        secrets=world.secrets,
        segments=world.segments,
        settings=settings,
        clock=world.clock,
        verdicts=verdicts,
        secret_cleanup=secret_cleanup,
        agents=Agents(world.store, TOKEN, httpx.MockTransport(door)),
        images=ImageParts.of(settings, world.log, world.store, world.clock),
        admission=admission,
        deliveries=MemoryDeliveries(),
        sender=sender,
        deciding=deciding,
    )
    app = application(settings.api.max_body)
    serve(app, services)
    await verdicts.open()
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    watched = {"response": [_declared().must_have]}
    client = httpx.AsyncClient(transport=transport, base_url="http://localhost", event_hooks=watched)
    parts = (verdicts.run(), secret_cleanup.run(), admission.run(), services.images.worker.run())
    async with world.running(), behind(*parts), client as http:
        yield Api(http, app, world, services, door)
    await services.agents.close()
    await sender.close()
    await services.images.fetcher.close()


@cache
def _declared() -> Declared:
    return Declared()


def application(max_body: int) -> FastAPI:
    """The routes, for services of one's own. FastAPI works them out at an application's first requests, which takes
    longer than most tests."""
    return _routed(max_body, traces.provider())


@cache
def _routed(max_body: int, provider: TracerProvider | None) -> FastAPI:
    """Where requests are traced, the application keeps the tracer of its first."""
    return routed(max_body, OwnNames())


@asynccontextmanager
async def behind(*running: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """What runs beside the requests, for the time of the block."""
    tasks = [asyncio.create_task(each) for each in running]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
