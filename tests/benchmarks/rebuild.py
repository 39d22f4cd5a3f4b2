"""Read models made anew from a million events, beside COPY of the rows that come out.

The events are those of real decisions: a world in memory boots, stops and deletes some hundred instances, and copies
of its log with other ids make up the number.
"""

import asyncio
import os
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import sql

from domain.core.messages import Command, Envelope, Key, Record, Topic, to_record
from domain.instance.actions.lifecycle.delete import DeleteInstance
from domain.instance.actions.power.stop import StopInstance
from domain.network.messages import CreateNetwork
from infra.log.kafka import KafkaLog
from infra.log.topics import apply
from projections.maintenance.rebuild import rebuild
from projections.store.schema import (
    SCHEMA,
    create_bare_tables,
    create_indexes,
    create_tables,
)
from projections.views.table import VIEWS
from tests.benchmarks.processes import spread, usage
from tests.domain.instances import NETWORK, boot_command
from tests.harness.world import World
from tests.servers import servers

EVENTS = 1_000_000
INSTANCES = 600
HOSTS = 20
UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TABLES = ("history", "states", "milestones", *VIEWS)


async def story(gone: bool = True) -> list[Record]:
    """The facts after some hundred instances were booted, half of them stopped, and a third deleted unless told not."""
    world = World()
    await world.start()
    for number in range(HOSTS):
        await world.host(f"h{number}", vcpus=1 << 10)
    await world.send(Key("network", NETWORK), CreateNetwork(name="lan", cidr="10.0.0.0/16", segment=1))
    keys = [Key("instance", str(uuid.uuid4())) for _ in range(INSTANCES)]
    await _all(world, {key: boot_command(name=f"i-{key.id[:18]}") for key in keys})
    await _all(world, {key: StopInstance() for key in keys[::2]})
    if gone:
        await _all(world, {key: DeleteInstance() for key in keys[::3]})
    return world.log.all(Topic.EVENTS)


async def _all(world: World, commands: dict[Key, Command]) -> None:
    records = []
    for key, command in commands.items():
        ident = str(uuid.uuid4())
        envelope = Envelope(
            id=ident,
            data=command,
            subject=key,
            time=world.clock(),
            source="bench",
            correlation=ident,
            actor="bench",
            project="bench",
        )
        records.append(to_record(envelope, Topic.COMMANDS))
    await world.log.publish(records)
    await world.settle()


def copies(records: list[Record], count: int) -> Iterator[list[Record]]:
    """The same again and again under other ids, so many records in all."""
    made = 0
    while made < count:
        salt = int.from_bytes(os.urandom(16))
        ids: dict[bytes, bytes] = {}

        def other(found: re.Match[bytes], ids: dict[bytes, bytes] = ids, salt: int = salt) -> bytes:
            old = found[0]
            if old not in ids:
                # All of it: ids that begin alike are sorted by far more slowly than such as are given out.
                ids[old] = str(uuid.UUID(int=int(old.replace(b"-", b""), 16) ^ salt)).encode()
            return ids[old]

        copy = [
            replace(
                record,
                key=UUID.sub(other, record.key),
                value=UUID.sub(other, record.value),
                headers=tuple((name, UUID.sub(other, value)) for name, value in record.headers),
                partition=None,
            )
            for record in records[: count - made]
        ]
        made += len(copy)
        yield copy


async def fill(bootstrap: str, count: int) -> None:
    """So many events, on the log."""
    log = KafkaLog(bootstrap)
    for copy in copies(await story(), count):
        for start in range(0, len(copy), 2000):
            await log.publish(copy[start : start + 2000])
    await log.close()


async def _stand_at_the_end(bootstrap: str, dsn: str) -> None:
    """As if the serving generation had read it all."""
    log = KafkaLog(bootstrap)
    with psycopg.connect(dsn) as connection:
        for each, (_, end) in (await log.bounds([Topic.EVENTS])).items():
            connection.execute("insert into read.positions values (%s, %s, %s)", (each.topic, each.partition, end))
    await log.close()


def _rest(dsn: str) -> None:
    """Have what the round before left to PostgreSQL's background done, so that each round begins alike."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("vacuum")
        connection.execute("checkpoint")


def _copy(dsn: str) -> tuple[float, float]:
    """COPY of every row from the new generation to bare tables: seconds, and seconds with indexes."""
    with psycopg.connect(dsn, autocommit=True) as source, psycopg.connect(dsn, autocommit=True) as target:
        target.execute("drop schema if exists raw cascade")
        create_bare_tables(target, "raw")
        begin = time.perf_counter()
        for table in TABLES:
            out = sql.SQL("copy {} to stdout (format binary)").format(sql.Identifier(SCHEMA, table))
            into = sql.SQL("copy {} from stdin (format binary)").format(sql.Identifier("raw", table))
            with source.cursor().copy(out) as rows, target.cursor().copy(into) as copy:
                for data in rows:
                    copy.write(data)
        copied = time.perf_counter() - begin
        create_indexes(target, "raw")
        return copied, time.perf_counter() - begin


def measure(count: int = EVENTS, rounds: int = 3) -> dict[str, Any]:
    """Events a second, from the first step of the rebuild to the exchange."""
    with servers(brief=False) as found:
        asyncio.run(apply(found.bootstrap))
        create_tables(found.dsn)
        asyncio.run(fill(found.bootstrap, count))
        asyncio.run(_stand_at_the_end(found.bootstrap, found.dsn))
        rates, cpu, limits = [], [], []
        for _ in range(rounds):
            _rest(found.dsn)
            begin, before = time.perf_counter(), usage({"all": os.getpid()})["all"][0]
            read = asyncio.run(rebuild(found.bootstrap, found.dsn))
            rates.append(read / (time.perf_counter() - begin))
            cpu.append((usage({"all": os.getpid()})["all"][0] - before) * 1000 / read)
            limits.append(_copy(found.dsn))
        with psycopg.connect(found.dsn) as connection:
            rows = {
                table: connection.execute(
                    sql.SQL("select count(*) from {}").format(sql.Identifier(SCHEMA, table))
                ).fetchone()
                for table in TABLES
            }
    return {
        "events": count,
        "rows": {table: row[0] for table, row in rows.items() if row},
        "events_per_second": spread(rates),
        "cpu_ms_per_event": spread(cpu),
        "copy_events_per_second": spread([count / seconds for seconds, _ in limits]),
        "copy_and_index_events_per_second": spread([count / seconds for _, seconds in limits]),
    }
