"""One release's side of `tests.benchmarks.releases`: each line on its input is a part to measure once.

It runs in the tree of the release, another one than this file's: it uses only what both have. Answers are JSON, a line
each; whatever else the tree prints goes elsewhere.
"""

import asyncio
import contextlib
import json
import os
import sys
from typing import Any

import aiohttp

from domain import catalog
from infra.log.kafka import KafkaLog
from tests.benchmarks import lists, placements, rebuild, steps
from tests.benchmarks.boots import Load
from tests.real.cluster import Cluster, running

HOSTS, ROWS = 100, 20_000
WARM_UP, BOOTS, AT_ONCE, LONE = 1500, 500, 50, 20
SECONDS = 2.0
EVENTS = 400_000


async def _boots(cluster: Cluster, load: Load) -> dict[str, float]:
    lone, many = await load.boots(LONE, 1), await load.boots(BOOTS, AT_ONCE)
    alone, found = lone.figures(), many.figures()
    return {
        "lone boot, p50 ms": alone["active_ms"][50],
        "boots/s": found["boots_per_second"],
        "CPU-ms a boot": found["cpu_ms_per_boot"],
        "POST, p50 ms": found["post_ms"][50],
    }


async def _pages(cluster: Cluster, load: Load) -> dict[str, float]:
    found = await lists.measure(cluster, ROWS, rounds=1, seconds=SECONDS, first=ROWS)
    api, bare = found["pages_per_second"]["median"], found["psycopg_pages_per_second"]["median"]
    return {"pages/s": api, "pages/s through the API, of those through psycopg": api / bare}


async def _placements(cluster: Cluster, load: Load) -> dict[str, float]:
    found = await asyncio.to_thread(placements.measure, 1)
    return {"placements/s, of bare passes of numpy": _ratio(found, "placements_per_second", "bare_numpy_per_second")}


async def _steps(cluster: Cluster, load: Load) -> dict[str, float]:
    found = await asyncio.to_thread(steps.measure, 1)
    faust, bare = (found[name]["cpu_ms_per_record"]["median"] for name in ("faust", "bare_aiokafka"))
    return {"engine steps: CPU-ms a record": faust, "engine steps: CPU-ms a record, of the plain loop's": faust / bare}


async def _rebuild(cluster: Cluster, load: Load) -> dict[str, float]:
    found = await asyncio.to_thread(rebuild.measure, EVENTS, 1)
    cost = found["cpu_ms_per_event"]["median"]
    ratio = _ratio(found, "events_per_second", "copy_and_index_events_per_second")
    return {"rebuild: CPU-ms an event": cost, "rebuild: events/s, of COPY's": ratio}


PARTS = {"boots": _boots, "pages": _pages, "placements": _placements, "steps": _steps, "rebuild": _rebuild}


def _ratio(found: dict[str, Any], figure: str, limit: str) -> float:
    return float(found[figure]["median"] / found[limit]["median"])


async def _serve(cluster: Cluster, answers: int) -> None:
    log = KafkaLog(cluster.kafka.address)
    # Shorter than the server keeps an idle connection: between two turns it would close what is used next.
    connector = aiohttp.TCPConnector(limit=AT_ONCE + 16, keepalive_timeout=2.0)
    async with aiohttp.ClientSession(cluster.url, timeout=aiohttp.ClientTimeout(total=60), connector=connector) as http:
        load = Load(cluster, http, log)
        await load.prepare()
        await load.boots(WARM_UP, AT_ONCE)
        await lists.measure(cluster, ROWS, rounds=1, seconds=SECONDS)
        os.write(answers, b"{}\n")
        while part := (await asyncio.to_thread(sys.stdin.readline)).strip():
            os.write(answers, json.dumps(await PARTS[part](cluster, load)).encode() + b"\n")
    await log.close()


def main() -> None:
    """Have a cluster of this release, and measure each part that is asked for."""
    assert catalog.MESSAGES
    answers = os.dup(1)
    os.dup2(2, 1)
    with contextlib.redirect_stdout(sys.stderr), running(HOSTS, brief=False) as cluster:
        asyncio.run(_serve(cluster, answers))


if __name__ == "__main__":
    main()
