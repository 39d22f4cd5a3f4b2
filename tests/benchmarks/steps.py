"""The engine's step: records a second a worker, under Faust as it runs, beside the same step in a bare aiokafka loop.

Each record is the boot of a new instance, which sends four out (created, accepted, dispatched, and what is
dispatched). The records lie on the log before the worker starts; what it takes from its first step to its last is
measured, the start of the process is not.
"""

import asyncio
import resource
import subprocess
import sys
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import psycopg

from commands.engine import EngineRules
from commands.processor import Processor
from domain import catalog
from domain.core.messages import Envelope, Key, Topic, to_record
from domain.guest_spec import FlavorRef, ImageRef
from domain.instance.actions.lifecycle.boot import BootInstance
from infra.db.migrate import migrate
from infra.db.postgres import PostgresWriteStore
from infra.log.kafka import KafkaLog
from infra.log.topics import apply
from infra.process.garbage_collector import tune_garbage_collector
from infra.process.settings import Settings, load
from tests.benchmarks.processes import spread, usage
from tests.servers import servers

RECORDS = 20_000
TABLES = ("positions", "inbox", "aggregates", "outbox", "parked", "tails")
FLAVOR = FlavorRef(id="f", name="small", core=1, memory=1 << 30)
IMAGE = ImageRef(id="i", name="tiny", checksum="0" * 64, format="raw", size=1 << 20, virtual_size=1 << 20)


def now() -> datetime:
    """The time, UTC."""
    return datetime.now(UTC)


async def fill(bootstrap: str, count: int) -> None:
    """So many boots, on the log."""
    log = KafkaLog(bootstrap)
    for start in range(0, count, 1000):
        records = []
        for number in range(start, min(start + 1000, count)):
            ident = str(uuid.uuid4())
            boot = BootInstance(name=f"i-{number}", hostname=f"i-{number}", flavor=FLAVOR, image=IMAGE, disk=1 << 30)
            envelope = Envelope(
                id=ident,
                data=boot,
                subject=Key("instance", str(uuid.uuid4())),
                time=now(),
                source="bench",
                correlation=ident,
                project="bench",
            )
            records.append(to_record(envelope, Topic.COMMANDS))
        await log.publish(records)
    await log.close()


async def bare(settings: Settings) -> None:
    """The same step in a plain loop over aiokafka, until the log is done. Prints seconds and CPU seconds."""
    log = KafkaLog(settings.log.bootstrap)
    write_store = PostgresWriteStore(settings.db.dsn, "engine")
    processor = Processor(EngineRules(), write_store, log, (Topic.COMMANDS,), now)
    bounds = await log.bounds([Topic.COMMANDS])
    positions = await processor.assigned(list(bounds))
    left = sum(end - positions[each] for each, (_, end) in bounds.items())
    reader = await log.reader(positions)
    tune_garbage_collector()
    begin, before = time.perf_counter(), _cpu()
    while left > 0:
        records = await reader.fetch(settings.worker.batch, 1.0)
        await processor.step(records)
        left -= len(records)
    print(time.perf_counter() - begin, _cpu() - before)
    await reader.close()
    await log.close()
    await write_store.close()


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _empty(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        for table in TABLES:
            connection.execute(f"truncate engine.{table}".encode())
        # One that remembers nothing at all would not begin beside a log on which it decided already.
        connection.execute("insert into engine.inbox (id) values (gen_random_uuid())")


def _done(dsn: str) -> int:
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(
            "select coalesce(sum(next_offset), 0) from engine.positions where topic = %s", (Topic.COMMANDS,)
        ).fetchone()
    return int(row[0]) if row else 0


def _worker(environment: dict[str, str], dsn: str, count: int) -> tuple[float, float]:
    """The engine as it runs: seconds and CPU seconds from its first step to its last."""
    process = subprocess.Popen([sys.executable, "-m", "cli.gostack", "engine"], env=environment)
    try:
        while not (first := _done(dsn)):
            time.sleep(0.005)
        begin, before = time.perf_counter(), usage({"engine": process.pid})["engine"][0]
        while _done(dsn) < count:
            time.sleep(0.01)
        seconds, cpu = time.perf_counter() - begin, usage({"engine": process.pid})["engine"][0] - before
    finally:
        process.terminate()
        process.wait(20)
    part = (count - first) / count
    return seconds / part, cpu / part


def measure(rounds: int = 5, count: int = RECORDS) -> dict[str, Any]:
    """Records a second and CPU milliseconds a record, under Faust and bare, in turn."""
    assert catalog.MESSAGES
    with servers(brief=False) as found:
        asyncio.run(apply(found.bootstrap))
        migrate(found.dsn)
        import os

        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GOSTACK_")},
            "GOSTACK_LOG__BOOTSTRAP": found.bootstrap,
            "GOSTACK_DB__DSN": found.dsn,
        }
        asyncio.run(fill(found.bootstrap, count))
        faust, plain = [], []
        for _ in range(rounds):
            _empty(found.dsn)
            faust.append(_worker(environment, found.dsn, count))
            _empty(found.dsn)
            told = subprocess.run(
                [sys.executable, "-m", "tests.benchmarks.steps"],
                env=environment,
                check=True,
                capture_output=True,
                text=True,
            ).stdout.split()
            plain.append((float(told[0]), float(told[1])))
    return {
        "records": count,
        "out_each": 4,
        "faust": _figures(faust, count),
        "bare_aiokafka": _figures(plain, count),
    }


def _figures(runs: list[tuple[float, float]], count: int) -> dict[str, Any]:
    return {
        "records_per_second": spread([count / seconds for seconds, _ in runs]),
        "cpu_ms_per_record": spread([cpu * 1000 / count for _, cpu in runs]),
    }


if __name__ == "__main__":
    import uvloop

    assert catalog.MESSAGES
    uvloop.run(bare(load()))
