"""`make bench CURVE=1`: boots and lists among more hosts and more instances, each point on servers of its own.

Each point is measured in several turns, there and back again, so that a machine which becomes slower or quicker
meanwhile does so to all of them. The instances that are there before are copies of those of real decisions, put on the
log as facts; `gostack db refill` makes engine and scheduler know them, as after the loss of the database, and the
projector reads them.
"""

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from infra.log.kafka import KafkaLog
from tests.benchmarks import lists
from tests.benchmarks.boots import Load
from tests.benchmarks.rebuild import INSTANCES, copies, story
from tests.real.cluster import Cluster, running

WRITTEN = Path(__file__).parents[2] / ".gostack" / "bench" / "curve.json"
HOSTS = (100, 1_000, 5_000)
EXISTING = (1_000, 20_000, 100_000)
POINTS = [(hosts, EXISTING[0]) for hosts in HOSTS] + [(HOSTS[0], there) for there in EXISTING[1:]]
BATCH = 2000
CATCH_UP = 600.0
"""Seconds that the projector may take for what is there before."""


async def _put(bootstrap: str, instances: int) -> int:
    """Facts of so many instances, on the log; how many facts."""
    log = KafkaLog(bootstrap)
    told = await story(gone=False)
    # What they followed from is on no log here.
    alone = [replace(each, headers=tuple(pair for pair in each.headers if pair[0] != "ce_causeplace")) for each in told]
    made = 0
    for copy in copies(alone, -(-instances // INSTANCES) * len(alone)):
        for start in range(0, len(copy), BATCH):
            await log.publish(copy[start : start + BATCH])
        made += len(copy)
    await log.close()
    return made


def _fill(instances: int, told: dict[str, Any]) -> Callable[[Cluster], None]:
    def fill(cluster: Cluster) -> None:
        told["facts"] = asyncio.run(_put(cluster.kafka.address, instances))
        begin = time.perf_counter()
        refill = [sys.executable, "-m", "cli.gostack", "db", "refill"]
        subprocess.run(refill, env=cluster.environment, check=True, capture_output=True)
        told["refill_facts_per_second"] = round(told["facts"] / (time.perf_counter() - begin))

    return fill


async def _silence(session: aiohttp.ClientSession) -> None:
    """Until the hosts of the copies, which have no agent, are known to be silent: nothing is to be placed there."""
    async with asyncio.timeout(120):
        while True:
            up, marker = 0, ""
            while marker is not None:
                page = {"limit": "1000"} | ({"marker": marker} if marker else {})
                async with session.get("/v1/hosts", params=page) as answer:
                    found = await answer.json()
                up += sum(each["health"] == "up" and not each["name"].startswith("sim") for each in found["hosts"])
                marker = found["next"]
            if not up:
                return
            await asyncio.sleep(1)


async def _measure(cluster: Cluster, there: int, arguments: argparse.Namespace) -> dict[str, Any]:
    log = KafkaLog(cluster.kafka.address)
    async with aiohttp.ClientSession(cluster.url, timeout=aiohttp.ClientTimeout(total=60)) as session:
        await _silence(session)
        load = Load(cluster, session, log)
        await load.prepare()
        await load.boots(arguments.warm_up, arguments.at_once)
        idle = await load.idle(10.0)
        rounds = [await load.boots(arguments.boots, arguments.at_once) for _ in range(arguments.rounds)]
        pages = await lists.measure(cluster, there, rounds=2)
    await log.close()
    return {"idle_cores_by_process": idle, "boots": [each.figures() for each in rounds], "pages": pages}


def _told(turn: dict[str, Any]) -> str:
    last, pages = turn["boots"][-1], turn["pages"]
    rates = ", ".join(f"{each['boots_per_second']:g}" for each in turn["boots"])
    return (
        f"{turn['hosts']} hosts, {turn['instances']} instances: {rates} boots/s, to active {last['active_ms']} ms, "
        f"{last['cpu_ms_per_boot']} CPU-ms, yardstick {last['yardstick_ms']} ms; "
        f"pages {pages['pages_per_second']['median']:g}/s, {pages['ms']} ms"
    )


def main() -> None:
    """Measure each point, and write what was found at each turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--boots", type=int, default=600)
    parser.add_argument("--at-once", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--turns", type=int, default=2, help="so many times each point")
    parser.add_argument("--warm-up", type=int, default=2000)
    parser.add_argument("--point", type=int, nargs=2, action="append", metavar=("HOSTS", "INSTANCES"))
    arguments = parser.parse_args()
    wanted = [(hosts, there) for hosts, there in arguments.point or POINTS]
    turns = []
    for number in range(arguments.turns):
        for hosts, there in wanted[:: -1 if number % 2 else 1]:
            turn: dict[str, Any] = {"hosts": hosts, "instances": there, "at": datetime.now(UTC).isoformat()}
            with running(hosts, fill=_fill(there, turn), patience=CATCH_UP, brief=False) as cluster:
                turn |= uvloop.run(_measure(cluster, there, arguments))
            turns.append(turn)
            print(_told(turn), flush=True)
            _write(turns)
    print(f"written: {WRITTEN}")


def _write(turns: list[dict[str, Any]]) -> None:
    machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release()}
    WRITTEN.parent.mkdir(parents=True, exist_ok=True)
    WRITTEN.write_text(json.dumps({"at": turns[0]["at"], "machine": machine, "turns": turns}, indent=1) + "\n")


if __name__ == "__main__":
    main()
