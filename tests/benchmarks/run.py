"""`make bench`: how fast, and at what cost.

All processes, 100 simulated hosts and the client are on this machine. Each figure is measured in this run; the file
that is written has them all, with the machine's own numbers beside them.
"""

import argparse
import asyncio
import json
import os
import platform
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import uvloop
from rich.console import Console
from rich.table import Table

from domain import catalog
from domain.messages import Topic
from infra.log.kafka import KafkaLog
from tests.benchmarks import lists, placements, rebuild, steps
from tests.benchmarks.processes import percentile, spread, usage
from tests.real.cluster import Cluster, running

WRITTEN = Path(__file__).parents[2] / ".gostack" / "bench" / "latest.json"
ENDS = {b"gostack.task.finished.v1": True, b"gostack.task.failed.v1": False}
PATIENCE = 180.0


@dataclass
class Boots:
    """One round of boots."""

    count: int
    at_once: int
    seconds: float = 0.0
    posts: list[float] = field(default_factory=list)
    active: list[float] = field(default_factory=list)
    failed: int = 0
    cpu: dict[str, float] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    records: int = 0

    def figures(self) -> dict[str, Any]:
        """What is told of it."""
        cpu_ms = {name: round(seconds * 1000 / self.count, 2) for name, seconds in self.cpu.items()}
        return {
            "boots": self.count,
            "at_once": self.at_once,
            "failed": self.failed,
            "boots_per_second": round(self.count / self.seconds, 1),
            "post_ms": {p: round(percentile(self.posts, p) * 1000, 1) for p in (50, 95, 99)},
            "active_ms": {p: round(percentile(self.active, p) * 1000, 1) for p in (50, 95, 99)},
            "cpu_ms_per_boot": round(sum(cpu_ms.values()), 2),
            "cpu_ms_per_boot_by_process": cpu_ms,
            "log_records_per_boot": round(self.records / self.count, 1),
            "resident_mib": {name: round(size / 2**20) for name, size in self.memory.items()},
        }


class Load:
    """The client."""

    def __init__(self, cluster: Cluster, session: aiohttp.ClientSession, log: KafkaLog) -> None:
        self._cluster = cluster
        self._session = session
        self._log = log
        self._ended: dict[str, asyncio.Future[bool]] = {}

    def _roots(self) -> dict[str, int]:
        roots = {name: process.process.pid for name, process in self._cluster.processes.items()}
        for server in (self._cluster.kafka, self._cluster.postgres):
            roots[server.name] = server.pid
        return roots

    async def prepare(self) -> None:
        """An image, a flavor and a network."""
        async with self._session.post("/v1/images/uploads", data=b"\0" * (1 << 20)) as answer:
            checksum = (await answer.json())["checksum"]
        for path, body in (
            ("/v1/images", {"name": "bench", "checksum": checksum}),
            ("/v1/flavors", {"name": "bench", "core": 1, "memory": 128 << 20}),
            ("/v1/networks", {"name": "bench", "cidr": "10.64.0.0/16"}),
        ):
            async with self._session.post(path, json=body) as answer:
                answer.raise_for_status()

    async def _tail(self, started: asyncio.Event) -> None:
        bounds = await self._log.bounds([Topic.EVENTS])
        reader = await self._log.reader({each: end for each, (_, end) in bounds.items()})
        started.set()
        try:
            while True:
                for record in await reader.fetch(1000, 0.2):
                    headers = dict(record.headers)
                    kind = headers.get("ce_type", b"")
                    waiting = self._ended.get(headers.get("ce_subject", b"").decode(errors="replace").partition("/")[2])
                    if kind in ENDS and waiting and not waiting.done():
                        waiting.set_result(ENDS[kind])
        finally:
            await reader.close()

    async def _ends(self) -> int:
        topics = [Topic.COMMANDS, Topic.SCHEDULING, Topic.EVENTS, Topic.JOBS, Topic.RESULTS]
        return sum(end for _, end in (await self._log.bounds(topics)).values())

    async def boots(self, count: int, at_once: int) -> Boots:
        """Boot so many, so many at once, and wait until each has ended."""
        round_ = Boots(count, at_once)
        started = asyncio.Event()
        tail = asyncio.create_task(self._tail(started))
        await started.wait()
        slots = asyncio.Semaphore(at_once)
        before, records = usage(self._roots()), await self._ends()
        begin = time.perf_counter()
        try:
            await asyncio.gather(*(self._boot(round_, slots, number) for number in range(count)))
            round_.seconds = time.perf_counter() - begin
        finally:
            tail.cancel()
        after = usage(self._roots())
        round_.records = await self._ends() - records
        round_.cpu = {name: after[name][0] - before[name][0] for name in after}
        round_.memory = {name: size for name, (_, size) in after.items()}
        return round_

    async def _boot(self, round_: Boots, slots: asyncio.Semaphore, number: int) -> None:
        async with slots:
            ident = str(uuid.uuid4())
            ended = self._ended[ident] = asyncio.get_running_loop().create_future()
            body = {
                "name": f"bench-{number}",
                "flavor": "bench",
                "image": "bench",
                "network": "bench",
                "instance_uuid": ident,
            }
            begin = time.perf_counter()
            async with self._session.post("/v1/instances", json=body) as answer:
                text = await answer.text()
                if answer.status != 202:
                    raise RuntimeError(f"{answer.status}: {text[:300]}")
            round_.posts.append(time.perf_counter() - begin)
            if not await asyncio.wait_for(ended, PATIENCE):
                round_.failed += 1
            round_.active.append(time.perf_counter() - begin)
            del self._ended[ident]


async def measure(cluster: Cluster, arguments: argparse.Namespace) -> dict[str, Any]:
    """Every figure."""
    log = KafkaLog(cluster.kafka.address)
    timeout = aiohttp.ClientTimeout(total=60)
    connector = aiohttp.TCPConnector(limit=arguments.at_once + 16)
    async with aiohttp.ClientSession(cluster.url, timeout=timeout, connector=connector) as session:
        load = Load(cluster, session, log)
        await load.prepare()
        # The broker's JVM and the databases' caches are slower at first than they will be for ever after.
        await load.boots(arguments.warm_up, arguments.at_once)
        lone = await load.boots(20, 1)
        rounds = [await load.boots(arguments.boots, arguments.at_once) for _ in range(arguments.rounds)]
        pages = await lists.measure(cluster, arguments.rows)
    await log.close()
    return {
        "at": datetime.now(UTC).isoformat(),
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release()},
        "hosts": arguments.hosts,
        "lone_boot": lone.figures(),
        "boots": [each.figures() for each in rounds],
        "boots_per_second": spread([each.count / each.seconds for each in rounds]),
        "cpu_ms_per_boot": spread([each.figures()["cpu_ms_per_boot"] for each in rounds]),
        "warmed_up_by_boots": arguments.warm_up,
        "pages": pages,
    }


def _spread(found: dict[str, float]) -> str:
    return f"{found['median']:g} ({found['min']:g} to {found['max']:g})"


def show(result: dict[str, Any]) -> None:
    """A table for people."""
    table = Table(title=f"GoStack on {result['machine']['cpus']} CPUs, {result['hosts']} simulated hosts")
    for column in ("what", "rate", "p50 ms", "p95 ms", "p99 ms", "CPU-ms each"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for figures in (result["lone_boot"], *result["boots"]):
        what = f"{figures['boots']} boots, {figures['at_once']} at once"
        for name, key in (("to active", "active_ms"), ("POST", "post_ms")):
            rate = f"{figures['boots_per_second']}/s" if name == "to active" else ""
            cpu = f"{figures['cpu_ms_per_boot']}" if name == "to active" else ""
            table.add_row(f"{what}: {name}", rate, *(str(figures[key][p]) for p in (50, 95, 99)), cpu)
    pages = result["pages"]
    table.add_row(
        f"GET /v1/instances?limit=50 of {pages['rows']}, filters mixed, {pages['at_once']} at once",
        _spread(pages["pages_per_second"]),
        *(str(pages["ms"][p]) for p in (50, 95, 99)),
    )
    table.add_row("  the same through psycopg alone", _spread(pages["psycopg_pages_per_second"]))
    if placements := result.get("placements"):
        what = f"placements among {placements['hosts']} hosts"
        table.add_row(
            what, _spread(placements["placements_per_second"]), *(str(placements["ms"][p]) for p in (50, 95, 99))
        )
        table.add_row("  a bare pass of numpy", _spread(placements["bare_numpy_per_second"]))
    if steps := result.get("steps"):
        for name, key in (("engine steps, records", "faust"), ("  in a plain loop over aiokafka", "bare_aiokafka")):
            cost = _spread(steps[key]["cpu_ms_per_record"])
            table.add_row(name, _spread(steps[key]["records_per_second"]), "", "", "", cost)
    if rebuild_ := result.get("rebuild"):
        what = f"rebuild of the read models from {rebuild_['events']} events"
        table.add_row(what, _spread(rebuild_["events_per_second"]), "", "", "", _spread(rebuild_["cpu_ms_per_event"]))
        table.add_row("  COPY of the same rows, indexed", _spread(rebuild_["copy_and_index_events_per_second"]))
    Console(width=120).print(table)
    last = result["boots"][-1]
    print("CPU-ms a boot by process:", last["cpu_ms_per_boot_by_process"])
    print("log records a boot:", last["log_records_per_boot"], "- resident MiB:", last["resident_mib"])


def main() -> None:
    """Measure, show and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=100)
    parser.add_argument("--boots", type=int, default=300)
    parser.add_argument("--at-once", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warm-up", type=int, default=600, help="boots that are not counted")
    parser.add_argument("--rows", type=int, default=20_000, help="instances in the lists")
    parser.add_argument("--events", type=int, default=200_000, help="from which read models are rebuilt")
    parser.add_argument("--only-boots", action="store_true", help="no placements, steps and rebuild")
    arguments = parser.parse_args()
    assert catalog.MESSAGES
    with running(arguments.hosts) as cluster:
        result = uvloop.run(measure(cluster, arguments))
    if not arguments.only_boots:
        result["placements"] = placements.measure()
        result["steps"] = steps.measure()
        result["rebuild"] = rebuild.measure(arguments.events, 1)
    show(result)
    WRITTEN.parent.mkdir(parents=True, exist_ok=True)
    WRITTEN.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written: {WRITTEN.relative_to(Path.cwd()) if WRITTEN.is_relative_to(Path.cwd()) else WRITTEN}")


if __name__ == "__main__":
    main()
