"""The service itself: its version, its settings, and whether it is well."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import orjson
import psycopg
from fastapi import APIRouter
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from starlette.responses import Response

from api.documents.document import Document
from api.http.permissions import needs
from api.http.request_context import Given
from api.openapi import describe
from api.reads.queries import JSON
from api.services import Services
from api.writes.admission import READ_BY
from domain.core.messages import Topic
from infra.db.write_store import WriteStoreUnavailable
from infra.log.lag import lags, total_lag
from infra.log.log import LogUnavailable, Positions
from infra.process.settings import explain
from projections.store.port import StoreUnavailable

router = APIRouter(tags=["service"])
health = APIRouter(tags=["service"])

HIDDEN = "***"
READ_MODELS = "read models"


class Setting(Document):
    """A setting."""

    name: str
    value: Any
    origin: str
    description: str | None


class Config(Document):
    """All settings."""

    settings: list[Setting]


class Version(Document):
    """The version."""

    version: str


class Health(Document):
    """Alive."""

    status: str


class Readiness(Document):
    """Ready, or which part is not."""

    status: str
    log: str
    database: str
    lag: int | None
    """Events that the read models are behind."""
    lag_seconds: float | None
    """For how long the oldest of these has waited."""
    waiting: dict[str, int]
    """Records that wait for engine and scheduler."""
    waiting_seconds: dict[str, float]
    """For how long the oldest of these has waited."""
    problems: list[str]
    """What stands in the way."""


@router.get(
    "/config",
    openapi_extra=needs("service:config"),
    summary="Show the settings in force",
    responses=describe.answers(
        200,
        Config,
        {"settings": [{"name": "api.port", "value": 7480, "origin": "default", "description": "TCP port of the API"}]},
    ),
)
async def show_config(given: Given) -> Response:
    """Of this process, and where each came from. No value is a secret."""
    rows = explain(given.settings)
    for row in rows:
        if row["name"] == "db.dsn":
            row["value"] = _masked(row["value"])
    return Response(orjson.dumps({"settings": rows}), media_type=JSON)


def _masked(dsn: str) -> str:
    try:
        parts = conninfo_to_dict(dsn)
    except psycopg.Error:
        return HIDDEN
    secret = {name: HIDDEN for name in ("password", "sslpassword") if name in parts}
    return make_conninfo(dsn, **secret) if secret else dsn


@router.get(
    "/version",
    openapi_extra=needs("service:version"),
    summary="Show the version",
    responses=describe.answers(200, Version, {"version": "0.1.0"}),
)
async def show_version() -> Response:
    """Of this process."""
    return Response(orjson.dumps({"version": own_version()}), media_type=JSON)


def own_version() -> str:
    """The installed version, or that of a source tree."""
    try:
        return version("gostack")
    except PackageNotFoundError:
        return "0+unknown"


@health.get("/healthz", summary="Is the process alive?", responses=describe.answers(200, Health, {"status": "ok"}))
async def healthz() -> Response:
    """Asks nobody else."""
    return Response(b'{"status":"ok"}', media_type=JSON)


@health.get(
    "/readyz",
    summary="Can requests be answered?",
    responses=describe.answers(
        200,
        Readiness,
        {
            "status": "ready",
            "log": "ok",
            "database": "ok",
            "lag": 0,
            "lag_seconds": 0.0,
            "waiting": {"engine": 0, "scheduler": 0},
            "waiting_seconds": {"engine": 0.0, "scheduler": 0.0},
            "problems": [],
        },
    ),
)
async def readyz(given: Given) -> Response:
    """503 where log or database do not answer, or read models, engine or scheduler are far behind."""
    told = await readiness(given)
    return Response(orjson.dumps(told), 503 if told["problems"] else 200, media_type=JSON)


async def readiness(services: Services) -> dict[str, Any]:
    """A Readiness."""
    told = await _parts(services)
    limits = services.settings.api
    problems = [f"the {part} is {told[part]}" for part in ("log", "database") if told[part] != "ok"]
    if told["lag"] is not None and told["lag"] > limits.ready_lag:
        problems.append(f"the read models are {told['lag']} events behind; {limits.ready_lag} are allowed")
    for name, count in told["waiting"].items():
        if count > limits.ready_waiting:
            problems.append(f"{count} records wait for the {name}; {limits.ready_waiting} are allowed")
    ages = {READ_MODELS: told["lag_seconds"] or 0.0, **told["waiting_seconds"]}
    problems += [
        f"what is oldest has waited {seconds:.0f} s for the {name}; {limits.ready_age:g} s are allowed"
        for name, seconds in ages.items()
        if seconds > limits.ready_age
    ]
    return {"status": "not ready" if problems else "ready", **told, "problems": problems}


async def _parts(services: Services) -> dict[str, Any]:
    told: dict[str, Any] = {
        "log": "ok",
        "database": "ok",
        "lag": None,
        "lag_seconds": None,
        "waiting": {},
        "waiting_seconds": {},
    }
    bounds = {}
    try:
        bounds = await services.log.bounds([Topic.EVENTS, *(topic for topics in READ_BY.values() for topic in topics)])
    except LogUnavailable as error:
        told["log"] = f"unreachable: {error}"
    at: dict[str, Positions] = {}
    try:
        positions = await services.store.positions([each for each in bounds if each.topic == Topic.EVENTS])
        if bounds:
            at[READ_MODELS] = positions
            for name, write_store in services.deciding.items():
                at[name] = await write_store.reached([each for each in bounds if each.topic in READ_BY[name]])
    except (StoreUnavailable, WriteStoreUnavailable) as error:
        told["database"] = f"unreachable: {error}"
    try:
        for name, each in at.items():
            found = total_lag(await lags(services.log, each, services.clock(), bounds=bounds))
            if name == READ_MODELS:
                told["lag"], told["lag_seconds"] = found
            else:
                told["waiting"][name], told["waiting_seconds"][name] = found
    except LogUnavailable as error:
        told["log"] = f"unreachable: {error}"
    return told
