"""What docs/operations.md tells people to do, so that the tests do that and nothing else."""

import json
import subprocess
import sys
from typing import Any

from typer.testing import CliRunner

from cli.gs.main import app
from infra.process.failpoints import VARIABLE
from tests.real.cluster import TREE, Cluster

BACKUP = "/backup/gostack"
"""Where the page keeps the archive."""


def steps(heading: str, block: int = 0) -> list[str]:
    """The commands of a section's first block, or of a later one, without what is said beside them."""
    section = (TREE / "docs/operations.md").read_text().split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [line.split("  #")[0].strip() for line in section.split("```")[2 * block + 1].strip().splitlines()]


def run(cluster: Cluster, line: str, crash: str = "") -> subprocess.CompletedProcess[str]:
    """What came of a line that calls `gostack`; it dies where `crash` says."""
    program, *words = line.replace(BACKUP, str(cluster.directory / "archive")).split()
    assert program == "gostack"
    return subprocess.run(
        [sys.executable, "-m", "cli.gostack", *words],
        env={**cluster.environment, VARIABLE: crash},
        cwd=TREE,
        capture_output=True,
        text=True,
    )


def done(cluster: Cluster, line: str) -> str:
    """What a line that calls `gostack` says; it must not fail."""
    found = run(cluster, line)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def gs(cluster: Cluster, *words: str, status: int = 0) -> Any:
    """The JSON that a call of `gs` gives, which must end so."""
    done = CliRunner(env={"GS_API": cluster.url}).invoke(app, [*words, "-o", "json"])
    assert done.exit_code == status, f"{words}: {done.exit_code}\n{done.output}\n{done.stderr}\n{cluster.last_words()}"
    return json.loads(done.stdout) if done.stdout else None
