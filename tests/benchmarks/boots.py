"""Boots: so many, so many at once, from the POST to the fact that the task has ended, and what they cost.

CPU time is that of all processes, the broker and the database among them. The client's own, and what everything else
on the machine took meanwhile, stand beside it: on a machine that is shared they say how much a rate is worth.
"""

import asyncio
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from domain.core.messages import Topic
from infra.log.kafka import KafkaLog
from infra.log.log import TopicPartition
from tests.benchmarks.processes import busy, percentile, usage, yardstick
from tests.real.cluster import Cluster

TOPICS = (Topic.COMMANDS, Topic.SCHEDULING, Topic.EVENTS, Topic.JOBS, Topic.RESULTS)
ENDS = {b"gostack.task.finished.v2": True, b"gostack.task.failed.v2": False}
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
    client: float = 0.0
    """CPU seconds of the client."""
    others: float = 0.0
    """CPU seconds of all else on the machine."""
    yardstick: float = 0.0
    """Of `processes.yardstick`, the mean of before and after."""

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
            "client_cpu_ms_per_boot": round(self.client * 1000 / self.count, 2),
            "cores_of_others": round(self.others / self.seconds, 2),
            "yardstick_ms": self.yardstick,
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
        async with self._session.post("/v1/images", json={"name": "bench"}) as answer:
            image = f"/v1/images/{(await answer.json())['id']}"
        params = {"offset": 0, "size": 1 << 20}
        async with self._session.patch(f"{image}/file", data=bytes(1 << 20), params=params) as answer:
            answer.raise_for_status()
        status = ""
        while status != "active":
            async with self._session.get(image) as answer:
                status = (await answer.json())["status"]
        for path, body in (
            ("/v1/flavors", {"name": "bench", "core": 1, "memory": 128 << 20}),
            ("/v1/networks", {"name": "bench", "cidr": "10.64.0.0/16"}),
        ):
            async with self._session.post(path, json=body) as answer:
                answer.raise_for_status()
                created = await answer.json()
            # The verdict may come later than the answer, and boots look names up in the read models.
            if late := created.get("command_id"):
                async with self._session.get(path, params={"after": late}) as answer:
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

    async def ends(self) -> dict[TopicPartition, int]:
        """Where the log ends."""
        return {each: end for each, (_, end) in (await self._log.bounds(TOPICS)).items()}

    async def idle(self, seconds: float) -> dict[str, float]:
        """Cores that each process is busy on while nobody asks for anything."""
        before = usage(self._roots())
        await asyncio.sleep(seconds)
        after = usage(self._roots())
        return {name: round((after[name][0] - before[name][0]) / seconds, 3) for name in after}

    async def boots(self, count: int, at_once: int) -> Boots:
        """Boot so many, so many at once, and wait until each has ended."""
        round_ = Boots(count, at_once)
        started = asyncio.Event()
        tail = asyncio.create_task(self._tail(started))
        await started.wait()
        pace = yardstick()
        slots = asyncio.Semaphore(at_once)
        before, ends = usage(self._roots()), await self.ends()
        begin, client, all_before = time.perf_counter(), time.process_time(), busy()
        try:
            await asyncio.gather(*(self._boot(round_, slots, number) for number in range(count)))
            round_.seconds = time.perf_counter() - begin
        finally:
            tail.cancel()
        after, all_after = usage(self._roots()), busy()
        round_.client = time.process_time() - client
        round_.records = sum((await self.ends()).values()) - sum(ends.values())
        round_.cpu = {name: after[name][0] - before[name][0] for name in after}
        round_.others = all_after - all_before - round_.client - sum(round_.cpu.values())
        round_.memory = {name: size for name, (_, size) in after.items()}
        round_.yardstick = round((pace + yardstick()) / 2, 1)
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
