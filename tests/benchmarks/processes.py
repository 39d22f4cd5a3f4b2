"""CPU time of processes and of all they started, read from /proc, and how fast the machine is just now."""

import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
YARDSTICK = json.dumps({f"field-{number}": [number, str(number), {"deep": None}] for number in range(100)})


def _table() -> dict[int, tuple[int, float, int]]:
    """Process id -> parent, CPU seconds with those of children that have ended, resident bytes."""
    table = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        cpu = sum(map(int, fields[11:15])) / TICKS
        table[int(path.parent.name)] = (int(fields[1]), cpu, int(fields[21]) * PAGE)
    return table


def usage(roots: Mapping[str, int]) -> dict[str, tuple[float, int]]:
    """By name: CPU seconds and resident bytes of that process and its descendants."""
    table = _table()
    totals: dict[str, tuple[float, int]] = dict.fromkeys(roots, (0.0, 0))
    names = {pid: name for name, pid in roots.items()}
    for pid, (_, cpu, resident) in table.items():
        at = pid
        while at in table and at not in names:
            at = table[at][0]
        if at in names:
            seconds, size = totals[names[at]]
            totals[names[at]] = (seconds + cpu, size + resident)
    return totals


def busy() -> float:
    """CPU seconds that all of the machine's processors have worked since it started."""
    fields = [int(each) for each in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle, waiting = fields[3], fields[4]
    return (sum(fields) - idle - waiting) / TICKS


def yardstick() -> float:
    """Milliseconds that the same piece of Python takes: where it takes longer, so does all that is measured beside it.

    A machine that is shared works at one pace in one minute and at another in the next, which `busy` does not see.
    """
    begin = time.perf_counter()
    for _ in range(2000):
        json.dumps(json.loads(YARDSTICK))
    return round((time.perf_counter() - begin) * 1000, 1)


def percentile(values: Iterable[float], percent: float) -> float:
    """The value that so many percent of the values do not exceed; nan of none."""
    ordered = sorted(values)
    if not ordered:
        return float("nan")
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def spread(values: Iterable[float]) -> dict[str, float]:
    """Minimum, median and maximum of several runs."""
    ordered = sorted(values)
    return {
        "min": round(ordered[0], 2),
        "median": round(median(ordered), 2),
        "max": round(ordered[-1], 2),
    }
