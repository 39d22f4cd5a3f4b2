"""Read models made anew beside those that serve, and put in their place: blue and green.

Each generation lies in a schema of its own. The new one is filled without indexes by several processes, gets its
indexes, catches up, and takes the name of the old, which stays for a way back. All the while the old one is read and
kept up to date. The exchange waits for the projector to be between two batches and holds it for as long as the last
events take; readers hold no name for longer than a statement, so none of them fails.
"""

import asyncio
import gc
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from threading import Thread

import psycopg
import uvloop
from psycopg import sql

from domain import catalog
from infra.db.pool import connect
from infra.log.kafka import KafkaLog
from infra.log.log import Positions, TopicPartition
from infra.process import failpoints
from infra.process.logging import set_up
from infra.process.settings import load
from projections.maintenance.bulk_load import BulkLoadStore, create_unkeyed_tables, settling_statements
from projections.maintenance.progress import PhaseReport, ProgressReport, ignore_phase, ignore_progress
from projections.projector import Projector
from projections.store.postgres import PostgresStore
from projections.store.schema import (
    SCHEMA,
    analyze_statements,
    create_tables,
    index_statements,
)

NEXT, PREVIOUS = "read_next", "read_previous"
MOST = 5000
WORKERS = min(4, os.cpu_count() or 1)
NEAR = 500
"""Events between the new generation and the old at which the two are exchanged."""
LOOKS = 0.5
"""Seconds between two reports of progress."""
LOCK = 0x67735F7265616400
"""The PostgreSQL advisory lock that lets one rebuild run at a time."""


class RebuildRunning(Exception):
    """Another rebuild or rollback is under way."""


class NoPrevious(Exception):
    """There is no earlier generation to go back to."""


async def rebuild(
    bootstrap: str,
    dsn: str,
    report: ProgressReport = ignore_progress,
    workers: int = WORKERS,
    report_phase: PhaseReport = ignore_phase,
) -> int:
    """Make all read models anew from the log; return how many events were read.

    Raises RebuildRunning, and what the projector raises.
    """
    with connect(dsn) as connection:
        _alone(connection)
        connection.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(NEXT)))
        with connection.transaction():
            create_unkeyed_tables(connection, NEXT)
        total = await _fill(bootstrap, dsn, report, workers)
        report_phase("making indexes")
        await _index(dsn)
        await _exchange(bootstrap, dsn, NEXT, report_phase)
    return total


async def rollback(bootstrap: str, dsn: str, report_phase: PhaseReport = ignore_phase) -> None:
    """Let the previous generation serve again, brought up to date; the one that served becomes the previous.

    Raises NoPrevious, RebuildRunning, and what the projector raises.
    """
    with connect(dsn) as connection:
        _alone(connection)
        found = connection.execute("select to_regnamespace(%s) is not null", (PREVIOUS,)).fetchone()
        if not found or not found[0]:
            raise NoPrevious("there is no earlier generation of the read models")
        create_tables(dsn, PREVIOUS)
        await _exchange(bootstrap, dsn, PREVIOUS, report_phase)


def _alone(connection: psycopg.Connection[tuple[bool, ...]]) -> None:
    row = connection.execute("select pg_try_advisory_lock(%s)", (LOCK,)).fetchone()
    if not row or not row[0]:
        raise RebuildRunning("another rebuild is under way")


def _positions(connection: psycopg.Connection[tuple[str, int, int]], schema: str) -> dict[TopicPartition, int]:
    rows = connection.execute(
        sql.SQL("select topic, partition, next_offset from {}.positions").format(sql.Identifier(schema))
    ).fetchall()
    return {TopicPartition(topic, partition): offset for topic, partition, offset in rows}


async def _fill(bootstrap: str, dsn: str, report: ProgressReport, workers: int) -> int:
    """Bring the new generation to where the old one is now; return how many events that took."""
    with connect(dsn) as connection:
        ends = _positions(connection, SCHEMA)
        total = sum(ends.values())
        shares = balanced_shares(ends, workers)
        loop = asyncio.get_running_loop()
        with ProcessPoolExecutor(workers, get_context("spawn"), end_with_parent) as pool:
            running = asyncio.gather(
                *(loop.run_in_executor(pool, _fill_share, bootstrap, dsn, share) for share in shares if share)
            )
            while not running.done():
                with suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(running), LOOKS)
                await report(sum(_positions(connection, NEXT).values()), total)
            await running
    return total


async def _index(dsn: str) -> None:
    """Make the new generation's keys and indexes: of several tables at a time, and for each table in order."""

    def run(statement: sql.Composed) -> None:
        with connect(dsn) as connection:
            # As many statements run at once as there are processors.
            connection.execute("set maintenance_work_mem = '128MB'; set work_mem = '128MB'")
            connection.execute("set max_parallel_maintenance_workers = 0")
            connection.execute(statement)

    settling, indexes, analyzing = settling_statements(NEXT), index_statements(NEXT), analyze_statements(NEXT)
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(WORKERS) as pool:

        async def settle(table: str) -> None:
            if table in settling:
                await loop.run_in_executor(pool, run, settling[table])
            await asyncio.gather(*(loop.run_in_executor(pool, run, each) for each in indexes.get(table, ())))
            await loop.run_in_executor(pool, run, analyzing[table])

        # What takes longest begins first.
        await asyncio.gather(*(settle(table) for table in sorted(analyzing, key=_by_size(dsn))))


def _by_size(dsn: str) -> Callable[[str], int]:
    with connect(dsn) as connection:
        rows = connection.execute(
            "select relname, pg_relation_size(oid) from pg_class where relnamespace = to_regnamespace(%s)", (NEXT,)
        ).fetchall()
    sizes = {str(table): int(size) for table, size in rows}
    return lambda table: -sizes[table]


def balanced_shares(ends: Positions, workers: int) -> list[dict[TopicPartition, int]]:
    """Divide the partitions among the workers, so that each has about as many events. A network's events lie all in one
    partition."""
    shares: list[dict[TopicPartition, int]] = [{} for _ in range(workers)]
    for each, end in sorted(ends.items(), key=lambda item: -item[1]):
        min(shares, key=lambda share: sum(share.values()))[each] = end
    return shares


def end_with_parent() -> None:
    """Let this process end when the process that started it ends, however that happens."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _fill_share(bootstrap: str, dsn: str, ends: Positions) -> None:
    """Project one worker's partitions into the new generation; the entry point of its process."""
    assert catalog.MESSAGES
    settings = load()
    set_up("projector", settings.log.format, settings.log.level)
    # It ends soon, and what is folded has no cycles.
    gc.disable()
    uvloop.run(_project(bootstrap, dsn, ends))


async def _project(bootstrap: str, dsn: str, ends: Positions) -> None:
    log = KafkaLog(bootstrap)
    store = BulkLoadStore(dsn, pool_size=1, schema=NEXT)
    await store.open()
    try:
        projector = Projector(log, store, MOST)
        await projector.start(list(ends))
        await projector.up_to(ends)
    finally:
        await store.close()
        await log.close()


async def _exchange(bootstrap: str, dsn: str, schema: str, report_phase: PhaseReport) -> None:
    """Bring this generation up to date and let it serve."""
    log = KafkaLog(bootstrap)
    store = PostgresStore(dsn, pool_size=1, schema=schema)
    await store.open()
    try:
        projector = Projector(log, store, MOST)
        with connect(dsn) as connection:
            at: dict[TopicPartition, int] = {}
            report_phase("bringing it up to date")
            while True:
                ends = _positions(connection, SCHEMA)
                await projector.start(list(ends))
                behind = sum(end - at.get(each, 0) for each, end in ends.items())
                await projector.up_to(ends)
                at = ends
                if behind <= NEAR:
                    break
            report_phase("exchanging")
            with connection.transaction():
                connection.execute(sql.SQL("lock table {}.positions in exclusive mode").format(sql.Identifier(SCHEMA)))
                await projector.up_to(_positions(connection, SCHEMA))
                _rename(connection, schema)
                failpoints.point("rebuild-renamed")
    finally:
        await store.close()
        await log.close()


def _rename(connection: psycopg.Connection[tuple[str, int, int]], schema: str) -> None:
    leaving = f"{SCHEMA}_leaving"
    steps: Sequence[tuple[str, str]] = ((SCHEMA, leaving), (schema, SCHEMA), (leaving, PREVIOUS))
    if schema != PREVIOUS:
        connection.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(PREVIOUS)))
    for old, new in steps:
        connection.execute(sql.SQL("alter schema {} rename to {}").format(sql.Identifier(old), sql.Identifier(new)))
