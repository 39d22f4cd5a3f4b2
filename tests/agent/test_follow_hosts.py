"""How an agent gets to know the other hosts: again and again, from an API of any release."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from agent import compose
from agent.compose import follow_hosts
from agent.drivers.simulated.driver import SimulatedDriver
from domain.host.messages import Inventory
from infra.local.server import LOOPBACK, free_port


class Driver(SimulatedDriver):
    """A host that says which others it was told of."""

    def __init__(self) -> None:
        super().__init__(Inventory(vcpus=1, memory=1 << 30, disk=1 << 30))
        self.heard: list[Mapping[str, str]] = []

    async def know_hosts(self, hosts: Mapping[str, str]) -> None:
        self.heard.append(hosts)


@pytest.mark.parametrize(
    ("told", "known"),
    [
        ({"uplinks": ["10.0.0.1", "10.0.0.2"], "keys": {"10.0.0.1": "key"}}, {"10.0.0.1": "key", "10.0.0.2": ""}),
        ({"uplinks": ["10.0.0.1"]}, {"10.0.0.1": ""}),
    ],
    ids=["today", "an earlier release"],
)
async def test_hosts_are_known_with_their_keys(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, Any], known: dict[str, str]
) -> None:
    monkeypatch.setattr(compose, "HOSTS_SECONDS", 0.02)
    port, driver = free_port(), Driver()

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(told)

    app = web.Application()
    app.router.add_get("/internal/v1/uplinks", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, port).start()
    async with aiohttp.ClientSession(f"http://{LOOPBACK}:{port}") as session:
        task = asyncio.ensure_future(follow_hosts(session, [driver]))
        try:
            async with asyncio.timeout(20):
                while len(driver.heard) < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await runner.cleanup()
    assert driver.heard[:2] == [known, known]
