"""A Nova beside it: the same number of boots through its API, until each server is ACTIVE.

It is not ours to install: whoever has one with its fake driver gives its address. Its CPU time is read from the process
ids that are in the files of a directory, if that is given too.
"""

import asyncio
import time
from pathlib import Path
from typing import Any

import aiohttp

from tests.benchmarks.processes import percentile, usage

HEADERS = {
    "X-Auth-Token": "admin:bench",
    "X-User-Id": "admin",
    "X-Project-Id": "bench",
    "X-Roles": "admin,member,reader",
    "OpenStack-API-Version": "compute 2.90",
}
FLAVOR = "bench"
IMAGE = "11111111-2222-3333-4444-555555555555"
POLL_SECONDS = 0.25
PATIENCE = 600.0


def _cpu(pids: Path | None) -> float:
    roots = {path.stem: int(path.read_text()) for path in pids.glob("*.pid")} if pids else {}
    return sum(seconds for seconds, _ in usage(roots).values())


async def _boot(session: aiohttp.ClientSession, url: str, posts: list[float], active: list[float]) -> str:
    server = {"name": "bench", "flavorRef": FLAVOR, "imageRef": IMAGE, "networks": "none"}
    begin = time.perf_counter()
    async with session.post(f"{url}/servers", json={"server": server}) as answer:
        body = await answer.json()
        if answer.status != 202:
            raise RuntimeError(f"{answer.status}: {body}")
    posts.append(time.perf_counter() - begin)
    ident = str(body["server"]["id"])
    while time.perf_counter() - begin < PATIENCE:
        await asyncio.sleep(POLL_SECONDS)
        async with session.get(f"{url}/servers/{ident}") as answer:
            status = (await answer.json())["server"]["status"]
        if status == "ACTIVE":
            active.append(time.perf_counter() - begin)
            return ident
        if status == "ERROR":
            raise RuntimeError(f"server {ident} is in ERROR")
    raise TimeoutError(f"server {ident} is not ACTIVE after {PATIENCE:g} s")


async def measure(url: str, pids: Path | None, count: int = 100, at_once: int = 20) -> dict[str, Any]:
    """So many boots, so many at once; the servers are deleted afterwards."""
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(headers=HEADERS, timeout=timeout) as session:
        slots = asyncio.Semaphore(at_once)
        posts: list[float] = []
        active: list[float] = []

        async def one() -> str:
            async with slots:
                return await _boot(session, url, posts, active)

        begin, before = time.perf_counter(), _cpu(pids)
        made = await asyncio.gather(*(one() for _ in range(count)))
        seconds, cpu = time.perf_counter() - begin, _cpu(pids) - before
        for ident in made:
            async with session.delete(f"{url}/servers/{ident}"):
                pass
    return {
        "boots": count,
        "at_once": at_once,
        "boots_per_second": round(count / seconds, 2),
        "post_ms": {p: round(percentile(posts, p) * 1000, 1) for p in (50, 95, 99)},
        "active_ms": {p: round(percentile(active, p) * 1000, 1) for p in (50, 95, 99)},
        "cpu_ms_per_boot": round(cpu * 1000 / count, 1) if pids else None,
    }
