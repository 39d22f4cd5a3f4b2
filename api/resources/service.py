"""The service itself: its version, its settings and its health."""

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
from api.writes.readiness import readiness
from domain.core.messages import Topic
from infra.log.durability import Durability, Replication
from infra.process.error_text import masked
from infra.process.settings import explain

router = APIRouter(tags=["service"])
health = APIRouter(tags=["service"])

HIDDEN = "***"
EXAMPLE = Durability.of({Topic.EVENTS: Replication(3, 2, 3)}, brokers=3)


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
