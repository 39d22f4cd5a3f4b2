"""A Nova beside it: the same number of boots through its API, until each server is ACTIVE.

It is not ours to install: whoever has one with its fake driver gives its address. Its CPU time is read from the process
ids that are in the files of a directory, if that is given too.
"""

import asyncio
import time
from contextlib import suppress
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
FLAVOR = {"name": "bench", "id": "bench", "ram": 128, "vcpus": 1, "disk": 1}
IMAGE = "11111111-2222-3333-4444-555555555555"
MADE, THERE = 202, 409
POLL_SECONDS = 1.0
"""Between two looks at all servers: to ask for each of them would be most of what such a Nova can answer."""
PATIENCE = 600.0
FIRST_TRIES = 60


def _cpu(pids: Path | None) -> float:
    roots = {path.stem: int(path.read_text()) for path in pids.glob("*.pid")} if pids else {}
    return sum(seconds for seconds, _ in usage(roots).values())


class Boots:
    """Servers that are asked for, and looked at together."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self._waiting: dict[str, asyncio.Future[str]] = {}
        self.posts: list[float] = []
        self.active: list[float] = []

    async def one(self) -> str:
        """A server's id, once it is ACTIVE. Raises RuntimeError, TimeoutError."""
        server = {"name": "bench", "flavorRef": FLAVOR["id"], "imageRef": IMAGE, "networks": "none"}
        begin = time.perf_counter()
        async with self._session.post(f"{self._url}/servers", json={"server": server}) as answer:
            body = await answer.json()
            if answer.status != MADE:
                raise RuntimeError(f"{answer.status}: {body}")
        self.posts.append(time.perf_counter() - begin)
        ident = str(body["server"]["id"])
        ended = self._waiting[ident] = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(PATIENCE):
            status = await ended
        if status != "ACTIVE":
            raise RuntimeError(f"server {ident} is in {status}")
        self.active.append(time.perf_counter() - begin)
        return ident

    async def look(self) -> None:
        """See which have ended, until cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            for status in ("ACTIVE", "ERROR"):
                async with self._session.get(f"{self._url}/servers", params={"status": status}) as answer:
                    found = {str(each["id"]) for each in (await answer.json())["servers"]}
                for ident in found & self._waiting.keys():
                    self._waiting.pop(ident).set_result(status)


async def _first(boots: Boots) -> str:
    """One that is not counted, once there is a host: a Nova that was just started has none for a while."""
    for _ in range(FIRST_TRIES):
        with suppress(RuntimeError):
            return await boots.one()
        await asyncio.sleep(1)
    raise RuntimeError(f"none of {FIRST_TRIES} servers became active")


async def measure(url: str, pids: Path | None, count: int = 100, at_once: int = 20) -> dict[str, Any]:
    """So many boots, so many at once, after one that is not counted; the servers are deleted afterwards."""
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(headers=HEADERS, timeout=timeout) as session:
        async with session.post(f"{url}/flavors", json={"flavor": FLAVOR}) as answer:
            if answer.status != THERE:
                answer.raise_for_status()
        slots = asyncio.Semaphore(at_once)
        boots = Boots(session, url)
        looking = asyncio.create_task(boots.look())

        async def one() -> str:
            async with slots:
                return await boots.one()

        try:
            first = await _first(boots)
            boots.posts.clear()
            boots.active.clear()
            begin, before = time.perf_counter(), _cpu(pids)
            made = await asyncio.gather(*(one() for _ in range(count)))
            seconds, cpu = time.perf_counter() - begin, _cpu(pids) - before
        finally:
            looking.cancel()
        for ident in (first, *made):
            async with session.delete(f"{url}/servers/{ident}"):
                pass
    return {
        "boots": count,
        "at_once": at_once,
        "boots_per_second": round(count / seconds, 2),
        "post_ms": {p: round(percentile(boots.posts, p) * 1000, 1) for p in (50, 95, 99)},
        "active_ms": {p: round(percentile(boots.active, p) * 1000, 1) for p in (50, 95, 99)},
        "cpu_ms_per_boot": round(cpu * 1000 / count, 1) if pids else None,
    }
