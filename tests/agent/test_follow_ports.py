"""How an agent gets to know the settings of its guests' ports: again and again, from an API of any release."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import generate_latest

from agent import compose
from agent.compose import follow_ports
from agent.drivers.simulated.driver import SimulatedDriver
from domain.host.messages import Inventory
from domain.network.on_host import RuleCount
from domain.network.port_settings import HostPorts
from domain.security_group import EVERYWHERE
from infra.local.process import wait_until
from infra.local.server import LOOPBACK, free_port
from infra.process import metrics

PORTS = [("network", "10.0.0.2", "instance")]


class Driver(SimulatedDriver):
    """A host with one port, which says what it was told of it."""

    def __init__(self) -> None:
        super().__init__(Inventory(vcpus=1, memory=1 << 30, disk=1 << 30))
        self.heard: list[HostPorts] = []

    async def ports(self) -> tuple[str, list[tuple[str, str, str]]]:
        return (self.heard[-1].version if self.heard else ""), PORTS

    async def know_ports(self, settings: HostPorts) -> None:
        self.heard.append(settings)


@contextlib.asynccontextmanager
async def following(port: int, driver: Driver) -> AsyncIterator[None]:
    async with aiohttp.ClientSession(f"http://{LOOPBACK}:{port}") as session:
        task = asyncio.ensure_future(follow_ports(session, [driver]))
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@contextlib.asynccontextmanager
async def api(port: int, asked: list[Any], known: HostPorts | None) -> AsyncIterator[None]:
    """An API that has these settings; one of an earlier release where there are none."""

    async def answer(request: web.Request) -> web.Response:
        asked.append(await request.json())
        assert known is not None
        if asked[-1]["version"] == known.version:
            return web.Response(status=204)
        return web.json_response(text=known.model_dump_json())

    app = web.Application()
    if known is not None:
        app.router.add_post("/internal/v1/ports", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, port).start()
    try:
        yield
    finally:
        await runner.cleanup()


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_settings_are_told_when_they_change_and_kept_while_the_api_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compose, "PORTS_SECONDS", 0.02)
    port, driver, asked = free_port(), Driver(), list[Any]()
    async with following(port, driver):
        async with api(port, asked, HostPorts(version="1")):
            await until(lambda: len(asked) > 3)
            assert asked[0] == {"version": "", "ports": [["network", "10.0.0.2"]]}
            assert [each.version for each in driver.heard] == ["1"]
        async with api(port, asked, HostPorts(version="2")):
            await until(lambda: len(driver.heard) > 1)
    assert [each.version for each in driver.heard] == ["1", "2"]


async def test_under_an_api_of_an_earlier_release_everything_is_permitted_as_it_was_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compose, "PORTS_SECONDS", 0.02)
    port, driver = free_port(), Driver()
    async with following(port, driver), api(port, [], None):
        await until(lambda: driver.heard)
    (settings,) = driver.heard[0].ports
    assert (settings.network_id, settings.ip, settings.instance_id) == PORTS[0]
    (group,) = settings.security_groups
    assert {rule.direction: rule.cidr for rule in driver.heard[0].groups[group]} == {
        "ingress": EVERYWHERE,
        "egress": EVERYWHERE,
    }


class Counting(SimulatedDriver):
    """A host whose rules have permitted something."""

    def __init__(self, **packets: int) -> None:
        super().__init__()
        self.packets = packets

    async def rule_counters(self, group: str = "") -> dict[str, RuleCount]:
        return {rule: RuleCount(packets=count, bytes=100 * count) for rule, count in self.packets.items()}


async def test_the_metrics_have_what_rules_have_permitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose, "COUNTERS_SECONDS", 0.01)
    one, two = Counting(web=3, ssh=1), Counting(web=4)

    def shown() -> set[str]:
        name = "gostack_security_group_rule_"
        lines = generate_latest(metrics.REGISTRY).decode().splitlines()
        return {line.removeprefix(name) for line in lines if line.startswith(name)}

    async def until(line: str) -> None:
        assert await asyncio.to_thread(wait_until, lambda: line in shown(), 5.0)

    counting = asyncio.create_task(compose.count_rules([one, two]))
    try:
        await until('bytes_total{rule="web"} 700.0')
        assert shown() == {
            'packets_total{rule="web"} 7.0',
            'packets_total{rule="ssh"} 1.0',
            'bytes_total{rule="web"} 700.0',
            'bytes_total{rule="ssh"} 100.0',
        }
        del one.packets["ssh"]
        one.packets["web"] = 5
        await until('bytes_total{rule="web"} 900.0')
        assert not any("ssh" in line for line in shown())
    finally:
        counting.cancel()
        await asyncio.gather(counting, return_exceptions=True)
        metrics.RULE_PACKETS.values = metrics.RULE_BYTES.values = {}
