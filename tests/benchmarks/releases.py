"""`python -m tests.benchmarks.releases COMMIT`: is this tree slower than an earlier release, and by how much.

Both run all the time, each with a cluster of its own, and what is measured alternates between them by the half minute:
a machine that is shared works at one pace in one minute and at another in the next, so what two whole runs show one
after the other is mostly that. Each figure is the median of what this tree has, of what the earlier one has in the same
turn.
"""

import argparse
import json
import os
import subprocess
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.one_release import PARTS
from tests.servers import scratch

TREE = Path(__file__).parents[2]
SIDE = Path(__file__).with_name("one_release.py")
WRITTEN = TREE / "docs" / "performance" / "releases"


class Side:
    """One release, ready to be measured."""

    def __init__(self, stack: ExitStack, tree: Path) -> None:
        self._log = stack.enter_context((scratch(stack) / "log").open("w+b"))
        self._process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, str(SIDE)],
                cwd=tree,
                env={**os.environ, "PYTHONPATH": str(tree)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
            )
        )

    def measured(self, part: str = "") -> dict[str, float]:
        """Measure a part once; without one, wait until the release is ready. Raises RuntimeError where it ended."""
        assert self._process.stdin
        assert self._process.stdout
        if part:
            self._process.stdin.write(f"{part}\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            raise RuntimeError(self._log.read().decode(errors="replace")[-4000:])
        return dict(json.loads(line))


def turns(before: Side, now: Side, part: str, count: int) -> dict[str, list[tuple[float, float]]]:
    """Measure a part on both, in turn, so many times: figure -> (before, now) of each turn."""
    found: dict[str, list[tuple[float, float]]] = {}
    for turn in range(count):
        # Who comes second finds the machine as the first has left it: each is first every other time.
        sides = (before, now) if turn % 2 == 0 else (now, before)
        measured = {side: side.measured(part) for side in sides}
        for name, value in measured[before].items():
            found.setdefault(name, []).append((value, measured[now][name]))
    return found


def commit(tree: Path) -> str:
    """The commit of a tree, short."""
    command = ["git", "-C", str(tree), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def summary(pairs: list[tuple[float, float]]) -> dict[str, Any]:
    """What a figure's turns say together."""
    changes = sorted(now / before for before, now in pairs)
    return {
        "before": round(median(before for before, _ in pairs), 4),
        "now": round(median(now for _, now in pairs), 4),
        "now_of_before": round(median(changes), 3),
        "from": round(changes[0], 3),
        "to": round(changes[-1], 3),
        "turns": len(pairs),
    }


def _write(result: dict[str, Any]) -> Path:
    """Write what is measured by now: the last part may take long, or fail."""
    WRITTEN.mkdir(parents=True, exist_ok=True)
    path = WRITTEN / f"{result['at'][:16].replace(':', '')}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def main() -> None:
    """Measure, show and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commit", help="of the earlier release")
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, comma-separated")
    asked = parser.parse_args()
    with ExitStack() as stack:
        earlier = scratch(stack) / "tree"
        git = ["git", "-C", str(TREE), "worktree"]
        subprocess.run([*git, "add", "--detach", "--quiet", str(earlier), asked.commit], check=True)
        stack.callback(subprocess.run, [*git, "remove", "--force", str(earlier)])
        (earlier / ".gostack").mkdir()
        (earlier / ".gostack" / "cache").symlink_to(TREE / ".gostack" / "cache")
        before, now = Side(stack, earlier), Side(stack, TREE)
        for side in (before, now):
            side.measured()
        result: dict[str, Any] = {
            "at": datetime.now(UTC).isoformat(),
            "before": commit(earlier),
            "now": commit(TREE),
            "figures": {},
        }
        for part in asked.only.split(","):
            for name, pairs in turns(before, now, part, asked.turns).items():
                result["figures"][name] = summary(pairs)
                _write(result)
    path = _write(result)
    table = Table(title=f"{result['now']} beside {result['before']}")
    for column in ("what", "before", "now", "now / before", "from", "to"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for name, each in result["figures"].items():
        table.add_row(name, *(f"{each[key]:g}" for key in ("before", "now", "now_of_before", "from", "to")))
    Console(width=120).print(table)
    print(f"written: {path.relative_to(TREE)}")


if __name__ == "__main__":
    main()
