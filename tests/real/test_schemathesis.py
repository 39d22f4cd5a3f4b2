"""Every operation of the API, with values at all edges of its description and with many others, on a real log and
database: nothing breaks, and nothing is answered that the description does not have.

Why on real ones: their twins in memory take what PostgreSQL does not, such as U+0000.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.harness.images import upload
from tests.real.cluster import Cluster, running

pytestmark = pytest.mark.real
CONFIG = Path(__file__).with_name("schemathesis.toml")
PATIENCE = 1800.0
"""Seconds that the run may take, five times what it takes on a quiet machine."""
MIB = 1 << 20


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    # Where after= names nothing, a read waits for as long as this.
    with running(2, {"GOSTACK_API__READ_TIMEOUT": "0.1"}) as made:
        with httpx.Client(base_url=f"{made.url}/v1", timeout=60) as http:
            furnish(http)
        yield made


def furnish(http: httpx.Client) -> None:
    """Make one of most kinds, under the names that the description's examples have."""
    upload(http, "tiny", bytes(MIB))
    for path, body in (
        ("/flavors", {"name": "small", "core": 1, "memory": 128 * MIB}),
        ("/networks", {"name": "lan", "cidr": "10.0.0.0/24"}),
        ("/instances", {"name": "web", "flavor": "small", "image": "tiny", "network": "lan"}),
    ):
        http.post(path, json=body).raise_for_status()


def test_every_operation_answers_as_it_is_described(cluster: Cluster, tmp_path: Path) -> None:
    # Made at the first request for it, which on a busy machine takes longer than schemathesis waits.
    assert httpx.get(f"{cluster.url}/openapi.json", timeout=120).status_code == 200
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "--no-color", "run"]
    done = subprocess.run(
        [*command, f"{cluster.url}/openapi.json"], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stdout[-50_000:] + done.stderr
    assert "incident" not in (cluster.directory / "api.log").read_text()
    cluster.check()
