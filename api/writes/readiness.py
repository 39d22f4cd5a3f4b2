"""Whether the service can answer now, and how far what is read is behind what was written."""

import logging
from dataclasses import asdict
from typing import Any

from api.services import Services
from api.writes.admission import READ_BY
from domain.core.messages import Topic
from infra.db.write_store import WriteStoreUnavailable
from infra.log.durability import Durability
from infra.log.lag import lags, total_lag
from infra.log.log import LogUnavailable, Positions
from projections.store.port import StoreUnavailable

logger = logging.getLogger(__name__)

READ_MODELS = "read models"


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
