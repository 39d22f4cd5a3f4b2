"""The agent's own HTTP endpoint, for what only a guest's host can give.

Why not over the log: a console's text and a display's password are for one person and one moment, and the log keeps
everything for ever. Callers need the token that API and agents share.
"""

import hmac
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated
from uuid import UUID

from fastapi import Body, FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel, Field

from agent.drivers.driver import Driver, DriverError, DriverFault
from agent.outside import disk_stream
from domain.host.local_disks import LocalDisks
from domain.network.on_host import GroupCounters, HostNetworks

logger = logging.getLogger(__name__)

MOST = 1 << 20
"""Bytes of a console's text in one answer, at most."""
PROBLEM = "application/problem+json"
STATUS = {
    DriverFault.GUEST_UNKNOWN: 404,
    DriverFault.GUEST_OFF: 409,
    DriverFault.GUEST_ON: 409,
    DriverFault.DISK_MISSING: 404,
    DriverFault.HYPERVISOR_REFUSED: 409,
}
"""HTTP status of a driver's errors; for all others it is 503: the host cannot do it now."""


class VncRequest(BaseModel):
    """For how many seconds the display's password is valid."""

    valid_seconds: int = Field(300, ge=10, le=86400)


class VncAnswer(BaseModel):
    """Address and port of a guest's display, with a password."""

    host: str
    port: int
    password: str
    valid_seconds: int


def endpoint(drivers: Mapping[str, Driver], token: str, epochs: Callable[[str], Mapping[str, int]]) -> FastAPI:
    """Make the HTTP application for the hosts of this process.

    `epochs`: returns, for the guests of a host, the host's epoch in which a job last gave each its power, where the
    agent knows it. Raises ValueError for an empty token: it would admit anybody.
    """
    if not token:
        raise ValueError("the agent's endpoint needs a token")
    app = FastAPI(title="GoStack agent", docs_url=None, redoc_url=None, openapi_url=None)
    expected = f"Bearer {token}".encode()

    @app.middleware("http")
    async def admit(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        token_sent = request.headers.get("authorization", "").encode()
        if request.url.path != "/healthz" and not hmac.compare_digest(token_sent, expected):
            return _problem(401, "unauthorized", "the agent's token is needed", {"WWW-Authenticate": "Bearer"})
        return await call_next(request)

    @app.exception_handler(DriverError)
    async def driver_failed(_: Request, problem: DriverError) -> Response:
        logger.warning("a request failed: %s", problem.for_operators())
        listed = problem.code in set(DriverFault)
        return _problem(STATUS.get(DriverFault(problem.code), 503) if listed else 503, problem.code, str(problem))

    def driver(host_id: str) -> Driver:
        found = drivers.get(host_id)
        if found is None:
            raise NoSuchHost(host_id)
        return found

    @app.exception_handler(NoSuchHost)
    async def no_such_host(_: Request, problem: NoSuchHost) -> Response:
        return _problem(404, "host-unknown", f"this agent does not serve host {problem}")

    @app.get("/healthz")
    async def healthz() -> dict[str, int]:
        return {"hosts": len(drivers)}

    @app.get("/v1/hosts/{host_id}/guests")
    async def guests(host_id: str) -> dict[str, Mapping[str, str | int]]:
        powers = {ident: str(power) for ident, power in (await driver(host_id).guests()).items()}
        return {"guests": powers, "epochs": epochs(host_id)}

    _add_networks(app, driver)
    _add_storage(app, driver)

    @app.get("/v1/hosts/{host_id}/instances/{instance_id}/console")
    async def console(
        host_id: str, instance_id: UUID, most: Annotated[int, Query(ge=1, le=MOST)] = 65536
    ) -> PlainTextResponse:
        return PlainTextResponse(await driver(host_id).console_log(str(instance_id), most))

    @app.get("/v1/hosts/{host_id}/instances/{instance_id}/disk")
    async def disk(host_id: str, instance_id: UUID) -> StreamingResponse:
        content = await driver(host_id).read_disk(str(instance_id))
        told = disk_stream.headers(content)
        return StreamingResponse(disk_stream.body(content), 200, told, "application/octet-stream")

    @app.post("/v1/hosts/{host_id}/instances/{instance_id}/vnc")
    async def vnc(host_id: str, instance_id: UUID, request: Annotated[VncRequest | None, Body()] = None) -> VncAnswer:
        seconds = (request or VncRequest()).valid_seconds
        display = await driver(host_id).vnc(str(instance_id), seconds)
        return VncAnswer(
            host=display.host, port=display.port, password=display.password, valid_seconds=display.valid_seconds
        )

    return app


def _add_storage(app: FastAPI, driver: Callable[[str], Driver]) -> None:
    """Add what a host finds in its pools and of an instance on its own disk; `driver` returns the one of a host."""

    @app.get("/v1/hosts/{host_id}/instances/{instance_id}/disks")
    async def disks(host_id: str, instance_id: UUID) -> LocalDisks:
        return LocalDisks(disks=tuple(await driver(host_id).local_disks(str(instance_id))))

    @app.get("/v1/hosts/{host_id}/pools/{pool_id}/volumes")
    async def pool_volumes(host_id: str, pool_id: UUID) -> dict[str, Sequence[str]]:
        return {"volumes": await driver(host_id).pool_volumes(str(pool_id))}


def _add_networks(app: FastAPI, driver: Callable[[str], Driver]) -> None:
    """Add what a host tells of its networks, and of an instance's disks; `driver` returns the one of a host."""

    @app.get("/v1/hosts/{host_id}/instances/{instance_id}/disks")
    async def disks(host_id: str, instance_id: UUID) -> LocalDisks:
        return LocalDisks(disks=tuple(await driver(host_id).local_disks(str(instance_id))))

    @app.get("/v1/hosts/{host_id}/networks")
    async def networks(host_id: str) -> HostNetworks | None:
        return await driver(host_id).networks()

    @app.get("/v1/hosts/{host_id}/security-groups/{group_id}/counters")
    async def counters(host_id: str, group_id: UUID) -> GroupCounters:
        return GroupCounters(rules=dict(await driver(host_id).rule_counters(str(group_id))))


class NoSuchHost(Exception):
    """The process has no host of this id."""


def _problem(status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    body = {"type": f"urn:gostack:error:{code}", "title": code, "status": status, "code": code, "detail": detail}
    return JSONResponse(body, status, headers=headers, media_type=PROBLEM)
