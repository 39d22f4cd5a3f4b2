"""The service itself: its version, its settings and its health."""

import logging
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import orjson
import psycopg
from fastapi import APIRouter
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from starlette.responses import Response

from api.documents.document import Document
from api.http.permissions import needs
from api.http.request_context import ServicesDep
from api.openapi import describe
from api.reads.queries import JSON
from api.services import Services
from api.writes.admission import READ_BY
from domain.core.messages import Topic
from infra.db.write_store import WriteStoreUnavailable
from infra.log.durability import Durability, Replication
from infra.log.lag import lags, total_lag
from infra.log.log import LogUnavailable, Positions
from infra.process.error_text import masked
from infra.process.settings import explain
from projections.store.port import StoreUnavailable

logger = logging.getLogger(__name__)

router = APIRouter(tags=["service"])
health = APIRouter(tags=["service"])

HIDDEN = "***"
EXAMPLE = Durability.of({Topic.EVENTS: Replication(3, 2, 3)}, brokers=3)
READ_MODELS = "read models"


class Setting(Document):
    """A setting in force, and the source of its value."""

    name: str
    value: Any
    origin: str
    description: str | None


class Config(Document):
    """All settings that are in force."""

    settings: list[Setting]


class Version(Document):
    """The version of the API process."""

    version: str


class Health(Document):
    """The status of a process that is alive."""

    status: str


class LogDurability(Document):
    """The durability of the log: its replicas, and what may therefore be lost."""

    brokers: int
    """Number of brokers that there are now."""
    replicas: int
    """Fewest replicas that a partition has."""
    min_insync: int
    """Replicas that must have a record before it counts as accepted."""
    in_sync: int
    """Replicas that are in sync now, of the partition that has the fewest."""
    may_be_away: int
    """Number of further brokers that may be away while the log accepts records; it accepts none now if below 0."""
    may_be_lost: int
    """Number of further brokers that may be lost with their disks at any moment without losing a record."""
    summary: str
    """The durability of the log, as a sentence."""


class Readiness(Document):
    """The readiness of the service, and the state of the parts that it depends on."""

    status: str
    log: str
    database: str
    lag: int | None
    """Number of events that the read models are behind."""
    lag_seconds: float | None
    """Seconds for which the oldest of these events has waited."""
    waiting: dict[str, int]
    """Number of records that wait for engine and scheduler."""
    waiting_seconds: dict[str, float]
    """Seconds for which the oldest of these records has waited."""
    durability: LogDurability | None
    """How durable the log is, as it was at most a minute ago; it is told, and never a problem."""
    problems: list[str]
    """Reasons why the service is not ready."""


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
async def show_config(services: ServicesDep) -> Response:
    """Settings of this API process are listed with the source of each value. Secrets are masked."""
    rows = explain(services.settings)
    for row in rows:
        if row["name"] == "db.dsn":
            row["value"] = _masked(row["value"])
        elif isinstance(row["value"], str):
            row["value"] = masked(row["value"])
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
    """The version is that of the API process that answers."""
    return Response(orjson.dumps({"version": own_version()}), media_type=JSON)


def own_version() -> str:
    """Return the version of the installed package; `0+unknown` in a source tree that is not installed."""
    try:
        return version("gostack")
    except PackageNotFoundError:
        return "0+unknown"


@health.get("/healthz", summary="Is the process alive?", responses=describe.answers(200, Health, {"status": "ok"}))
async def healthz() -> Response:
    """The process answers without contacting any other part."""
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
            "durability": {
                "brokers": 3,
                "replicas": 3,
                "min_insync": 2,
                "in_sync": 3,
                "may_be_away": 1,
                "may_be_lost": 1,
                "summary": str(EXAMPLE),
            },
            "problems": [],
        },
    ),
)
async def readyz(services: ServicesDep) -> Response:
    """Answer 503 if the log or the database does not answer, or if read models, engine or scheduler are far behind."""
    told = await readiness(services)
    return Response(orjson.dumps(told), 503 if told["problems"] else 200, media_type=JSON)


async def readiness(services: Services) -> dict[str, Any]:
    """Return the state of the parts that the service depends on, as a Readiness document."""
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
        "durability": None,
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
        if bounds and (durability := await _durability(services)) is not None:
            told["durability"] = {**asdict(durability), "summary": str(durability)}
    except LogUnavailable as error:
        told["log"] = f"unreachable: {error}"
    return told


async def _durability(services: Services) -> Durability | None:
    try:
        return await services.log.durability()
    except LogUnavailable as error:
        # Of a log that answers otherwise: whoever may only read and write records need not be allowed to ask.
        logger.warning("how durable the log is cannot be asked: %s", error)
        return None
