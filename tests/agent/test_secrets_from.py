"""How an agent gets a guest's secrets: while the API starts again, too."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from agent import compose
from agent.compose import secrets_from
from agent.drivers.driver import DriverError
from infra.local.server import LOOPBACK, free_port
from tests.agent.test_metadata import GUEST


@contextlib.asynccontextmanager
async def api(port: int) -> AsyncIterator[None]:
    """An API that has the secret `p`, and no other."""

    async def secret(request: web.Request) -> web.Response:
        if request.match_info["ref"] != "p":
            raise web.HTTPNotFound
        return web.json_response({"value": "passw0rd"})

    app = web.Application()
    app.router.add_get("/internal/v1/secrets/{ref}", secret)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, port).start()
    try:
        yield
    finally:
        await runner.cleanup()


async def test_an_api_that_starts_again_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A boot must not fail because the API was restarted meanwhile, however long its start takes within the limit."""
    monkeypatch.setattr(compose, "SECRET_PAUSE", 0.01)
    port = free_port()
    async with aiohttp.ClientSession(f"http://{LOOPBACK}:{port}") as session:
        asked = asyncio.ensure_future(secrets_from(session)(GUEST.but(password_ref="p")))
        await asyncio.sleep(2.0)
        assert not asked.done()
        async with api(port):
            assert (await asked).password == "passw0rd"
            with pytest.raises(DriverError) as gone:
                await secrets_from(session)(GUEST.but(password_ref="q"))
            assert gone.value.code == "secret-gone"


async def test_an_api_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose, "SECRET_PATIENCE", 0.5)
    async with aiohttp.ClientSession(f"http://{LOOPBACK}:{free_port()}") as session:
        with pytest.raises(DriverError) as away:
            await secrets_from(session)(GUEST.but(password_ref="p"))
    assert away.value.code == "secret-unavailable"
