"""The projector's other half: it rebuilds, rolls back or verifies the read models when a user requested that.

Why in a process of its own: a rebuild takes all that it can get, and the memory it took is given back when it ends;
projecting goes on beside it.
"""

import asyncio
import logging
from datetime import UTC, datetime
from multiprocessing import get_context

import uvloop

from domain import catalog
from infra.log.kafka import KafkaLog
from infra.process.error_text import named
from infra.process.logging import set_up
from infra.process.loops import every
from infra.process.settings import Settings
from projections.maintenance.progress import ProgressReport
from projections.maintenance.rebuild import end_with_parent, rebuild, rollback
from projections.maintenance.runs import Run, Runs
from projections.maintenance.runs_postgres import PostgresRuns
from projections.maintenance.verify import compare
from projections.store.port import StoreUnavailable
from projections.store.postgres import PostgresStore

logger = logging.getLogger(__name__)

LOOKS = 1.0
"""Seconds between two looks for a requested run."""
BEATS = 2.0
"""Seconds between two reports of a run's progress."""


async def run_maintenance(settings: Settings) -> None:
    """Take each requested run and carry it out, for ever, one at a time."""
    runs = PostgresRuns(settings.db.dsn)

    async def look() -> None:
        if run := await runs.take(_now()):
            await _in_a_process(settings, runs, run)

    await every(LOOKS, look, name="maintenance", failures=(StoreUnavailable,), first=LOOKS)


async def _in_a_process(settings: Settings, runs: Runs, run: Run) -> None:
    process = get_context("spawn").Process(target=_process, args=(settings, run.id))
    process.start()
    try:
        await asyncio.to_thread(process.join)
    finally:
        process.terminate()
    # It says itself how it ended; this counts where it could not.
    await runs.end(run.id, _now(), error=f"its process ended with status {process.exitcode}")


def _process(settings: Settings, ident: str) -> None:
    end_with_parent()
    set_up("projector", settings.log.format, settings.log.level)
    uvloop.run(carry_out(settings, ident))


async def carry_out(settings: Settings, ident: str) -> None:
    """Carry out the run with this id, which was taken before, and record how it ended."""
    assert catalog.MESSAGES
    runs = PostgresRuns(settings.db.dsn)
    run = await runs.get(ident)
    assert run is not None
    progress = (0, 0)

    async def report(done: int, total: int) -> None:
        nonlocal progress
        progress = done, total

    def report_phase(phase: str) -> None:
        logger.info("%s %s: %s", run.kind, ident, phase)

    async def beat() -> None:
        await runs.report_progress(ident, _now(), *progress)

    beating = asyncio.create_task(every(BEATS, beat, name="progress", failures=(StoreUnavailable,)))
    problems: list[str] = []
    error = ""
    try:
        match run.kind:
            case "rebuild":
                await rebuild(settings.log.bootstrap, settings.db.dsn, report, report_phase=report_phase)
            case "rollback":
                await rollback(settings.log.bootstrap, settings.db.dsn, report_phase)
            case "verify":
                problems = await _differences(settings, report)
    except Exception as failure:
        logger.exception("%s %s failed", run.kind, ident)
        error = named(failure)[:1000]
    finally:
        beating.cancel()
    await runs.report_progress(ident, _now(), *progress)
    await runs.end(ident, _now(), tuple(problems), error)


async def _differences(settings: Settings, report: ProgressReport) -> list[str]:
    log = KafkaLog(settings.log.bootstrap, settings.log.request_timeout)
    store = PostgresStore(settings.db.dsn, pool_size=1)
    await store.open()
    try:
        _, problems = await compare(log, store, report)
        return problems
    finally:
        await store.close()
        await log.close()


def _now() -> datetime:
    return datetime.now(UTC)
