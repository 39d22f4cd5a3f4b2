"""Prints docs/performance.md and its pictures from what the benchmarks wrote: no figure is copied by hand.

`python -m tests.benchmarks.page` keeps .gostack/bench/latest.json among the runs in docs/performance/runs, takes
network.json from it and curve.json beside it, and prints the page of the newest run, of the curve, of networks and, a
line each, of all runs that are kept.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.processes import spread

ROOT = Path(__file__).parents[2]
MEASURED = ROOT / ".gostack" / "bench"
KEPT = ROOT / "docs" / "performance"
RELEASES = KEPT / "releases"
RUNS = KEPT / "runs"
TEXT = Path(__file__).with_name("page.md")
PAGE = ROOT / "docs" / "performance.md"

Figures = dict[str, Any]


def _spread(found: Figures) -> str:
    return f"{found['min']:,g} / {found['median']:,g} / {found['max']:,g}"


def _ms(found: Figures) -> str:
    return " / ".join(f"{found[percent]:,g}" for percent in ("50", "95", "99"))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _rounds(rounds: Sequence[Figures], key: str, percent: str) -> str:
    return _spread(spread(each[key][percent] for each in rounds))


def boots(bench: Figures) -> str:
    """Boots on simulated hosts."""
    rounds = bench["boots"]
    first = rounds[0]
    rows = [
        ["boots a second", "100", _spread(bench["boots_per_second"])],
        ["CPU-ms a boot, all processes, Kafka and PostgreSQL", "20", _spread(bench["cpu_ms_per_boot"])],
        ["to active, p50, ms", "", _rounds(rounds, "active_ms", "50")],
        ["to active, p95, ms", "1,500", _rounds(rounds, "active_ms", "95")],
        ["POST until the verdict, p95, ms", "", _rounds(rounds, "post_ms", "95")],
        ["cores that other work on the machine took meanwhile", "", _others(rounds)],
        ["the yardstick, ms", "", _yardsticks(rounds)],
    ]
    told = _table(["", "aim", "min / median / max of the rounds"], rows)
    by = rounds[-1]["cpu_ms_per_boot_by_process"]
    shares = ", ".join(f"{name} {cost:g}" for name, cost in by.items())
    return (
        f"{len(rounds)} rounds of {first['boots']:,} boots, {first['at_once']} at once, over {bench['hosts']:,} "
        f"simulated hosts, after {bench['warmed_up_by_boots']:,} that are not counted (the broker's JVM compiles "
        f"itself meanwhile).\n\n{told}\n\nCPU-ms by process, last round: {shares}. A boot is "
        f"{first['log_records_per_boot']:g} records on the log."
    )


def _others(rounds: Sequence[Figures]) -> str:
    # Clocks are read one after another: a little below nothing is nothing.
    return _spread(spread(max(0.0, each["cores_of_others"]) for each in rounds))


def peer(bench: Figures) -> str:
    """Nova, where it was there."""
    if "nova" not in bench:
        return "No Nova was there in this run; `make bench` takes the address of one (`--nova URL`)."
    theirs, ours = bench["nova"], bench["as_nova"]
    rows = [
        [name, f"{each['boots_per_second']:g}", _ms(each["active_ms"]), _ms(each["post_ms"]), f"{cpu or ''}"]
        for name, each, cpu in (
            ("Nova 26.2.2, fake driver, 10 compute services", theirs, theirs["cpu_ms_per_boot"]),
            ("GoStack, 100 simulated hosts", ours, ours["cpu_ms_per_boot"]),
        )
    ]
    head = ["", "boots/s", "to active p50 / p95 / p99, ms", "POST p50 / p95 / p99, ms", "CPU-ms a boot"]
    return f"{theirs['boots']} boots, {theirs['at_once']} at once, in the same run.\n\n{_table(head, rows)}"


def others(bench: Figures) -> str:
    """All that is not boots, each beside its limit."""
    lone, alone, pages = bench["lone_boot"], bench["log_hops"], bench["pages"]
    rows = [
        [
            "a lone boot on a simulated host, to active, p50 / p95 / p99, ms",
            "100",
            _ms(lone["active_ms"]),
            f"{alone['hops']} records, one after another, through Kafka alone: {_ms(alone['ms'])}",
        ],
        [
            f"`GET /v1/instances?limit=50` of {pages['rows']:,}, filters mixed, at any depth, a second",
            "500",
            f"{_spread(pages['pages_per_second'])}; p50 / p95 / p99 {_ms(pages['ms'])} ms",
            f"the same SQL through psycopg: {_spread(pages['psycopg_pages_per_second'])}",
        ],
    ]
    if guest := bench.get("guests"):
        rows.append(
            [
                "a real guest's boot by the agent, ms",
                "150 over virsh",
                f"{_spread(guest['agent_ms'])}; over virsh {_spread(guest['over_virsh_ms'])}",
                f"`virsh define` and `start` of the same XML: {_spread(guest['virsh_ms'])}",
            ]
        )
    if stood := bench.get("takeover"):
        for key, aim, what in (
            ("restarted_seconds", "5", "it is started again"),
            ("taken_over_seconds", "15", "another one takes over"),
        ):
            rows.append([f"an engine is killed, {what}: boots stand still, s", aim, _spread(stood[key]), ""])
    if steps := bench.get("steps"):
        rows.append(
            [
                f"engine step, {steps['out_each']} records out each, records a second",
                "1,500 and 0.6 CPU-ms",
                f"{_spread(steps['faust']['records_per_second'])}; "
                f"CPU-ms {_spread(steps['faust']['cpu_ms_per_record'])}",
                "the same step in a plain loop over aiokafka: "
                f"{_spread(steps['bare_aiokafka']['records_per_second'])}; "
                f"CPU-ms {_spread(steps['bare_aiokafka']['cpu_ms_per_record'])}",
            ]
        )
    if placements := bench.get("placements"):
        rows.append(
            [
                f"placements among {placements['hosts']:,} hosts, a second",
                "1,000 and p99 5 ms",
                f"{_spread(placements['placements_per_second'])}; p50 / p95 / p99 {_ms(placements['ms'])} ms",
                f"a bare pass of numpy: {_spread(placements['bare_numpy_per_second'])}",
            ]
        )
    if rebuild := bench.get("rebuild"):
        rows.append(
            [
                f"read models made anew of {rebuild['events']:,} events, events a second",
                "20,000",
                _spread(rebuild["events_per_second"]),
                f"COPY of the same rows, with indexes: {_spread(rebuild['copy_and_index_events_per_second'])}",
            ]
        )
    return _table(["what", "aim", "min / median / max", "beside"], rows)


WAYS = {
    "bare": "a veth pair, a bridge and VXLAN without any rule",
    "unsecured": "ports without security (`--no-port-security`)",
    "secured": "security groups and anti-spoofing",
    "encrypted": "the same, encrypted by wireguard-go or the kernel's WireGuard",
}


def network(found: Figures) -> str:
    """Networks of guests: a stream from host to host, a port's way, and many of them."""
    measured: Figures = found["network"]
    streams = _table(
        [
            "a stream of " + f"{measured['stream_seconds']:g} s by",
            "Gbit/s",
            "of the bare one's",
            "Gbit/s, again",
            "of it",
        ],
        [
            [
                text,
                *(_spread(turn[way][key]) for turn in measured["throughput"] for key in ("gbit_per_second", "of_bare")),
            ]
            for way, text in WAYS.items()
            if way in measured["throughput"][0]
        ],
    )
    plug, many = measured["plug"], measured["many"]
    rows = [
        [
            "the first port of a network on a host is plugged, ms",
            _spread(plug["first_ms"]),
            _spread(plug["bare_first_ms"]),
        ],
        ["one more port, ms", _spread(plug["more_ms"]), _spread(plug["bare_more_ms"])],
        ["a rule more for a fifth of the ports is in force, ms", _spread(many["change_ms"]), ""],
        [f"permissions are taken from {many['taken_from']} ports, ms", _spread(many["taken_ms"]), ""],
        ["a look at all of it, every five seconds, ms", _spread(many["look_ms"]), ""],
        ["an agent that starts anew has all of it, ms", f"{many['start_ms']:,}", ""],
        [
            "resident memory of all dnsmasq, MiB (and of one)",
            f"{many['dnsmasq_mib']:g} ({many['dnsmasq_each_mib']:g})",
            "",
        ],
    ]
    return (
        f"{streams}\n\n{measured['rounds']} rounds in turn, twice. From the third line of the next table on a host has "
        f"{many['networks']} networks, {many['ports']} ports and {many['rules']:,} rules. The yardstick, ms: "
        f"{_spread(measured['yardstick_ms'])}.\n\n"
        f"{_table(['', 'min / median / max', 'the bare commands'], rows)}"
    )


def every(runs: Sequence[Figures]) -> str:
    """Whole runs, a line each: a machine that is shared is quicker in one hour than in the next."""
    head = [
        "run",
        "yardstick, ms",
        "boots/s",
        "CPU-ms a boot",
        "Nova's boots/s",
        "list p99, ms",
        "placements/s",
        "engine step, records/s",
        "rebuild, events/s",
        "to COPY with indexes",
    ]
    rows = [
        [
            f"[{each['at'][:16].replace('T', ' ')}](performance/runs/{_name(each)})",
            _yardsticks(each["boots"]),
            _spread(each["boots_per_second"]),
            _spread(each["cpu_ms_per_boot"]),
            f"{each['nova']['boots_per_second']:g}" if "nova" in each else "",
            f"{each['pages']['ms']['99']:g}",
            _spread(each["placements"]["placements_per_second"]) if "placements" in each else "",
            _spread(each["steps"]["faust"]["records_per_second"]) if "steps" in each else "",
            _spread(each["rebuild"]["events_per_second"]) if "rebuild" in each else "",
            f"{_to_copy(each['rebuild']):.2f}" if "rebuild" in each else "",
        ]
        for each in runs
    ]
    return _table(head, rows)


def beside(measurements: Sequence[Figures]) -> str:
    """The measurements of this release beside an earlier one, each figure with the least and the most of its turns."""
    rows = [
        [
            name,
            f"`{each['before']}` {figure['before']:,.4g}",
            f"`{each['now']}` {figure['now']:,.4g}",
            f"{figure['now_of_before']:.3f} ({figure['from']:.2f} to {figure['to']:.2f})",
            str(figure["turns"]),
        ]
        for each in measurements
        for name, figure in each["figures"].items()
    ]
    return _table(["what", "before", "now", "now / before", "turns"], rows)


def _to_copy(rebuild: Figures) -> float:
    rate: float = rebuild["events_per_second"]["median"] / rebuild["copy_and_index_events_per_second"]["median"]
    return rate


def _name(run: Figures) -> str:
    return f"{run['at'][:16].replace(':', '')}.json"


def _yardsticks(rounds: Sequence[Figures]) -> str:
    found = [each["yardstick_ms"] for each in rounds if "yardstick_ms" in each]
    return _spread(spread(found)) if found else ""


def joined(turns: Sequence[Figures]) -> list[Figures]:
    """The turns of each point together, in the order of the first turn."""
    points: dict[tuple[int, int], Figures] = {}
    for turn in turns:
        point = points.setdefault(
            (turn["hosts"], turn["instances"]),
            {"hosts": turn["hosts"], "instances": turn["instances"], "boots": [], "idle": [], "pages": [], "mib": {}},
        )
        point["boots"] += turn["boots"]
        point["idle"].append(sum(turn["idle_cores_by_process"].values()))
        point["pages"].append(turn["pages"])
        for name, size in turn["boots"][-1]["resident_mib"].items():
            point["mib"][name] = max(size, point["mib"].get(name, 0))
    for point in points.values():
        point["boots_per_second"] = spread(each["boots_per_second"] for each in point["boots"])
        point["cpu_ms_per_boot"] = spread(each["cpu_ms_per_boot"] for each in point["boots"])
        point["list_p99"] = spread(each["ms"]["99"] for each in point["pages"])
    return list(points.values())


def curve(points: Sequence[Figures]) -> str:
    """The scale curve as a table."""
    rows = [
        [
            f"{each['hosts']:,}",
            f"{each['instances']:,}",
            f"{len(each['boots'])}",
            _spread(each["boots_per_second"]),
            _rounds(each["boots"], "active_ms", "95"),
            _spread(each["cpu_ms_per_boot"]),
            f"{max(each['idle']):.2f}",
            _spread(each["list_p99"]),
            _yardsticks(each["boots"]),
            _others(each["boots"]),
        ]
        for each in points
    ]
    head = [
        "hosts",
        "instances before",
        "rounds",
        "boots/s",
        "p95 to active, ms",
        "CPU-ms a boot",
        "cores when idle",
        "list p99, ms",
        "yardstick, ms",
        "cores of others",
    ]
    return _table(head, rows)


def memory(points: Sequence[Figures]) -> str:
    """Resident memory by process as instances grow, the most of the turns, and what an instance costs."""
    same = sorted(
        (each for each in points if each["hosts"] == points[0]["hosts"]), key=lambda each: int(each["instances"])
    )
    more = (same[-1]["instances"] - same[0]["instances"]) / 1024 or float("nan")
    rows = []
    for name in same[0]["mib"]:
        sizes = [each["mib"][name] for each in same]
        rows.append([name, *(f"{size:,}" for size in sizes), f"{(sizes[-1] - sizes[0]) / more:.2f}"])
    head = ["process, MiB", *(f"{each['instances']:,} instances" for each in same), "KiB an instance"]
    return _table(head, rows)


def draw(points: Sequence[Figures]) -> dict[str, bytes]:
    """The pictures, by file name."""
    first = points[0]
    by_hosts = [each for each in points if each["instances"] == first["instances"]]
    by_instances = [each for each in points if each["hosts"] == first["hosts"]]
    return {
        "hosts.svg": _picture("by hosts", [(each["hosts"], each) for each in by_hosts]),
        "instances.svg": _picture("by instances that are there", [(each["instances"], each) for each in by_instances]),
    }


def _picture(title: str, found: Sequence[tuple[int, Figures]]) -> bytes:
    # It puts an importer of the old kind into the process, of which Python warns at every import after.
    import pygal
    from pygal.style import CleanStyle

    chart = pygal.XY(
        title=f"boots a second, and p99 of a page of the list in ms, {title}",
        style=CleanStyle,
        js=[],
        no_prefix=True,
        pretty_print=True,
        disable_xml_declaration=False,
        width=720,
        height=360,
        logarithmic=False,
        xrange=(0, max(x for x, _ in found)),
        range=(0, None),
        x_labels=[x for x, _ in found],
        legend_at_bottom=True,
    )
    chart.add("boots/s, median", [(x, each["boots_per_second"]["median"]) for x, each in found])
    chart.add("boots/s, best", [(x, each["boots_per_second"]["max"]) for x, each in found])
    chart.add("list p99, ms", [(x, each["list_p99"]["median"]) for x, each in found])
    return bytes(chart.render())


def page(runs: Sequence[Figures], measured: Figures, networks: Figures) -> str:
    """The page, of this curve, these networks, and the last of these runs that had a Nova beside it."""
    bench, points = [each for each in runs if "nova" in each][-1], joined(measured["turns"])
    machine = bench["machine"]
    text = TEXT.read_text()
    return text.format(
        date=bench["at"][:10],
        curve_date=measured["at"][:10],
        machine=f"{machine['cpus']} CPUs, Python {machine['python']}, Linux {machine['kernel'].split('-')[0]}",
        boots=boots(bench),
        peer=peer(bench),
        others=others(bench),
        network_date=networks["at"][:10],
        network=network(networks),
        runs=every(runs),
        beside=beside([json.loads(each.read_text()) for each in sorted(RELEASES.glob("*.json"))]),
        curve=curve(points),
        memory=memory(points),
    )


def _curve() -> Figures:
    found: Figures = json.loads((KEPT / "curve.json").read_text())
    return found


def kept() -> str:
    """The page of the figures that are kept."""
    networks = json.loads((KEPT / "network.json").read_text())
    return page([json.loads(each.read_text()) for each in sorted(RUNS.glob("*.json"))], _curve(), networks)


def main() -> None:
    """Keep what was measured, draw it, and print the page."""
    RUNS.mkdir(exist_ok=True)
    if (latest := MEASURED / "latest.json").exists():
        run = json.loads(latest.read_text())
        # Of some parts alone no line of all runs can be made.
        if {"boots", "pages"} <= run.keys():
            shutil.copyfile(latest, RUNS / _name(run))
        if run.get("network"):
            parts = {name: run[name] for name in ("at", "commit", "machine", "network")}
            (KEPT / "network.json").write_text(json.dumps(parts, indent=1) + "\n")
    if (found := MEASURED / "curve.json").exists():
        shutil.copyfile(found, KEPT / "curve.json")
    for name, picture in draw(joined(_curve()["turns"])).items():
        (KEPT / name).write_bytes(picture)
    PAGE.write_text(kept())


if __name__ == "__main__":
    main()
