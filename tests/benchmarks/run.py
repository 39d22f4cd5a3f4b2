"""`make bench`: how fast, and at what cost.

All processes, 100 simulated hosts and the client are on this machine. Each figure is measured in this run; the file
that is written has them all, with the machine's own numbers beside them.
"""

import argparse
import asyncio
import json
import os
import platform
import shlex
import subprocess
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import uvloop
from rich.console import Console
from rich.table import Table

from domain import catalog
from domain.core.messages import Record
from infra.log.kafka import KafkaLog
from infra.log.log import TopicPartition
from tests.benchmarks import guests, hops, lists, network, nova, placements, rebuild, steps, takeover
from tests.benchmarks.boots import Load
from tests.benchmarks.processes import spread
from tests.real.cluster import Cluster, running

WRITTEN = Path(__file__).parents[2] / ".gostack" / "bench" / "latest.json"
LONE = 20
PARTS = ("boots", "pages", "guests", "network", "takeover", "placements", "steps", "rebuild")
NOVA_BOOTS, NOVA_AT_ONCE = 100, 20


async def _since(log: KafkaLog, before: dict[TopicPartition, int]) -> list[Record]:
    """What came on the log since then."""
    reader, found = await log.reader(before), []
    try:
        while some := await reader.fetch(1000, 1.0):
            found += some
    finally:
        await reader.close()
    return found


async def measure(cluster: Cluster, arguments: argparse.Namespace) -> dict[str, Any]:
    """Every figure."""
    log = KafkaLog(cluster.kafka.address)
    timeout = aiohttp.ClientTimeout(total=60)
    connector = aiohttp.TCPConnector(limit=arguments.at_once + 16)
    async with aiohttp.ClientSession(cluster.url, timeout=timeout, connector=connector) as session:
        load = Load(cluster, session, log)
        await load.prepare()
        result: dict[str, Any] = {"hosts": arguments.hosts}
        if "boots" in arguments.only:
            result |= await _boots(cluster, load, log, arguments)
        if "pages" in arguments.only:
            result["pages"] = await lists.measure(cluster, arguments.rows)
    await log.close()
    return result


async def _boots(cluster: Cluster, load: Load, log: KafkaLog, arguments: argparse.Namespace) -> dict[str, Any]:
    """Lone boots and rounds of many at once, with what the log alone takes for a boot's records."""
    # The broker's JVM and the databases' caches are slower at first than they will be for ever after.
    await load.boots(arguments.warm_up, arguments.at_once)
    idle = await load.idle(5.0)
    before = await load.ends()
    lone = await load.boots(LONE, 1)
    count = hops.longest(await _since(log, before))
    alone = await hops.measure(cluster.kafka.address, count)
    rounds = [await load.boots(arguments.boots, arguments.at_once) for _ in range(arguments.rounds)]
    as_nova = await load.boots(NOVA_BOOTS, NOVA_AT_ONCE) if arguments.nova else None
    return {
        "idle_cores_by_process": idle,
        "lone_boot": lone.figures(),
        "log_hops": alone,
        "boots": [each.figures() for each in rounds],
        "boots_per_second": spread([each.count / each.seconds for each in rounds]),
        "cpu_ms_per_boot": spread([each.figures()["cpu_ms_per_boot"] for each in rounds]),
        "warmed_up_by_boots": arguments.warm_up,
        **({"as_nova": as_nova.figures()} if as_nova else {}),
    }


def _spread(found: dict[str, float]) -> str:
    return f"{found['median']:g} ({found['min']:g} to {found['max']:g})"


def _ms(found: dict[str, float]) -> list[str]:
    return [str(found[percent]) for percent in ("50", "95", "99")]


def show(result: dict[str, Any]) -> None:
    """A table for people."""
    table = Table(title=f"GoStack on {result['machine']['cpus']} CPUs")
    for column in ("what", "rate", "p50 ms", "p95 ms", "p99 ms", "CPU-ms each"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for figures in (result["lone_boot"], *result["boots"]) if "boots" in result else ():
        what = f"{figures['boots']} boots, {figures['at_once']} at once"
        for name, key in (("to active", "active_ms"), ("POST", "post_ms")):
            rate = f"{figures['boots_per_second']}/s" if name == "to active" else ""
            cpu = f"{figures['cpu_ms_per_boot']}" if name == "to active" else ""
            table.add_row(f"{what}: {name}", rate, *_ms(figures[key]), cpu)
    if alone := result.get("log_hops"):
        table.add_row(f"  {alone['hops']} records, one after another, through the log alone", "", *_ms(alone["ms"]))
    if peer := result.get("nova"):
        what = f"Nova: {peer['boots']} boots, {peer['at_once']} at once"
        rate, cost = f"{peer['boots_per_second']}/s", str(peer["cpu_ms_per_boot"] or "")
        table.add_row(f"{what}: to ACTIVE", rate, *_ms(peer["active_ms"]), cost)
        table.add_row(f"{what}: POST", "", *_ms(peer["post_ms"]))
        same = result["as_nova"]
        rate, cost = f"{same['boots_per_second']}/s", str(same["cpu_ms_per_boot"])
        table.add_row("  the same here: to active", rate, *_ms(same["active_ms"]), cost)
        table.add_row("  the same here: POST", "", *_ms(same["post_ms"]))
    if guest := result.get("guests"):
        what = "a real guest's boot by the agent, ms: "
        table.add_row(what + _spread(guest["agent_ms"]), "")
        table.add_row("  virsh with the same domain, ms: " + _spread(guest["virsh_ms"]), "")
    if network_ := result.get("network"):
        for turn in network_["throughput"]:
            for way, found in turn.items():
                what = f"a stream between guests of two hosts, {way}, Gbit/s: {_spread(found['gbit_per_second'])}"
                table.add_row(what + f"; of the bare one's {_spread(found['of_bare'])}", "")
        for what, key in (("a network's first port", "first"), ("one more port", "more")):
            plug = network_["plug"]
            beside = f"; the bare commands {_spread(plug[f'bare_{key}_ms'])}"
            table.add_row(f"{what} is plugged, ms: {_spread(plug[f'{key}_ms'])}{beside}", "")
    if stood := result.get("takeover"):
        what = "an engine is killed: boots stand still for, s: "
        table.add_row(what + _spread(stood["restarted_seconds"]) + ", it is started again", "")
        table.add_row(what + _spread(stood["taken_over_seconds"]) + ", another one takes over", "")
    if pages := result.get("pages"):
        table.add_row(
            f"GET /v1/instances?limit=50 of {pages['rows']}, filters mixed, {pages['at_once']} at once",
            _spread(pages["pages_per_second"]),
            *_ms(pages["ms"]),
        )
        table.add_row("  the same through psycopg alone", _spread(pages["psycopg_pages_per_second"]))
    if placements := result.get("placements"):
        what = f"placements among {placements['hosts']} hosts"
        table.add_row(what, _spread(placements["placements_per_second"]), *_ms(placements["ms"]))
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
    if "boots" not in result:
        return
    last = result["boots"][-1]
    print("CPU-ms a boot by process:", last["cpu_ms_per_boot_by_process"])
    print("log records a boot:", last["log_records_per_boot"], "- resident MiB:", last["resident_mib"])
    print("client: CPU-ms a boot", last["client_cpu_ms_per_boot"], "- cores busy with other things meanwhile:", end=" ")
    print(", ".join(str(each["cores_of_others"]) for each in result["boots"]))
    print("cores busy while idle:", result["idle_cores_by_process"])


def _parts(text: str) -> tuple[str, ...]:
    """Names of parts of this benchmark. Raises ArgumentTypeError for one that there is not."""
    parts = tuple(text.split(","))
    if unknown := set(parts) - set(PARTS):
        raise argparse.ArgumentTypeError(f"there is no {', '.join(sorted(unknown))}: parts are {', '.join(PARTS)}")
    return parts


def main() -> None:
    """Measure, show and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=100)
    parser.add_argument("--boots", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warm-up", type=int, default=2000, help="boots that are not counted")
    parser.add_argument("--rows", type=int, default=20_000, help="instances in the lists")
    parser.add_argument("--events", type=int, default=1_000_000, help="from which read models are rebuilt")
    parser.add_argument("--rebuilds", type=int, default=3, help="so many times")
    parser.add_argument(
        "--only", type=_parts, default=PARTS, metavar="PARTS", help=f"of {','.join(PARTS)}: only these, comma-separated"
    )
    parser.add_argument("--nova", metavar="URL", help="of a Nova beside which this is to be measured, up to /v2.1")
    parser.add_argument("--nova-start", metavar="COMMAND", help="that starts it when its turn comes")
    parser.add_argument("--nova-stop", metavar="COMMAND", help="that ends it before what comes after")
    parser.add_argument("--nova-pids", type=Path, metavar="DIRECTORY", help="with the process ids of that Nova")
    arguments = parser.parse_args()
    assert catalog.MESSAGES
    result: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(),
        "commit": _commit(),
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release()},
    }
    if {"boots", "pages"} & set(arguments.only):
        with running(arguments.hosts, brief=False) as cluster:
            result |= uvloop.run(measure(cluster, arguments))
        _write(result)
    if arguments.nova:
        try:
            if arguments.nova_start:
                subprocess.run(shlex.split(arguments.nova_start), check=True, stdout=subprocess.DEVNULL)
            result["nova"] = asyncio.run(nova.measure(arguments.nova, arguments.nova_pids, NOVA_BOOTS, NOVA_AT_ONCE))
        finally:
            if arguments.nova_stop:
                subprocess.run(shlex.split(arguments.nova_stop), check=True, stdout=subprocess.DEVNULL)
        _write(result)
    for name, part in (
        ("guests", guests.measure),
        ("network", network.measure),
        ("takeover", takeover.measure),
        ("placements", placements.measure),
        ("steps", steps.measure),
        ("rebuild", partial(rebuild.measure, arguments.events, arguments.rebuilds)),
    ):
        if name in arguments.only:
            result[name] = part()
            _write(result)
    show(json.loads(_write(result)))
    print(f"written: {WRITTEN.relative_to(Path.cwd()) if WRITTEN.is_relative_to(Path.cwd()) else WRITTEN}")


def _commit() -> str:
    """The short name of the commit that this is."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short=7", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _write(result: dict[str, Any]) -> str:
    """What there is by now: the last part may take long, or fail."""
    WRITTEN.parent.mkdir(parents=True, exist_ok=True)
    WRITTEN.write_text(json.dumps(result, indent=1) + "\n")
    return WRITTEN.read_text()


if __name__ == "__main__":
    main()
