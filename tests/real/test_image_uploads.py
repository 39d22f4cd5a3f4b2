"""Images whose API is killed on the way: in the middle of an upload, after verification, and while it fetches a URL."""

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.process.failpoints import VARIABLE
from tests.harness.images import active
from tests.real.cluster import TREE, Cluster, running

pytestmark = pytest.mark.real

MIB = 1 << 20
SIZE = 40 * MIB
PATIENCE = 180.0


@pytest.fixture(scope="module")
def marks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("marks")


@pytest.fixture(scope="module")
def cluster(marks: Path) -> Iterator[Cluster]:
    points = f"image-piece:40:{marks / 'piece'},image-verified:1:{marks / 'verified'}"
    settings = {"GOSTACK_IMAGES__ALLOW_PRIVATE": "true", "GOSTACK_IMAGES__UNUSED_KEEP": "0"}
    with running(1, {VARIABLE: points, **settings}) as made:
        yield made


def gs(cluster: Cluster, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "GS_API": cluster.url, "PYTHONPATH": str(TREE)}
    environment.pop(VARIABLE, None)
    command = [sys.executable, "-m", "cli.gs.main", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)


def test_an_upload_goes_on_after_the_api_was_killed_in_it_and_after_it(
    cluster: Cluster, marks: Path, tmp_path: Path
) -> None:
    content = os.urandom(SIZE)
    file, back = tmp_path / "big.raw", tmp_path / "back.raw"
    file.write_bytes(content)
    checksum = hashlib.sha256(content).hexdigest()
    done = gs(cluster, "image", "create", "big", "--file", str(file), "-o", "json")
    assert done.returncode == 0, done.stderr + cluster.last_words()
    image = json.loads(done.stdout)
    assert (image["status"], image["checksum"], image["size"]) == ("active", checksum, SIZE)
    assert {each.name for each in marks.iterdir()} == {"piece", "verified"}
    assert cluster.processes["api"].starts == 3
    assert (cluster.directory / "images" / checksum).read_bytes() == content
    done = gs(cluster, "image", "download", "big", str(back))
    assert done.returncode == 0, done.stderr
    assert back.read_bytes() == content
    cluster.check()
    assert "0 files are unused" in collected(cluster, "--dry-run")
    assert gs(cluster, "image", "delete", "big").returncode == 0
    # Marked, listed, and then deleted.
    for words, said in (((), "1 files are unused; 0,"), (("--dry-run",), f"{checksum} {SIZE} bytes: goes")):
        assert said in collected(cluster, *words)
        assert (cluster.directory / "images" / checksum).exists()
    assert f"{checksum} {SIZE} bytes: deleted" in collected(cluster)
    assert not (cluster.directory / "images" / checksum).exists()


def collected(cluster: Cluster, *words: str) -> str:
    """What `gostack images gc` says."""
    command = [sys.executable, "-m", "cli.gostack", "images", "gc", *words]
    environment = {name: value for name, value in cluster.environment.items() if name != VARIABLE}
    done = subprocess.run(command, env=environment, cwd=TREE, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Slow(BaseHTTPRequestHandler):
    """A server that holds its first answer back, half sent."""

    asked = 0
    content = os.urandom(MIB)

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(200)
        self.send_header("Content-Length", str(MIB))
        self.end_headers()
        self.wfile.write(self.content[: MIB // 2])
        if type(self).asked == 1:
            time.sleep(PATIENCE)
        self.wfile.write(self.content[MIB // 2 :])

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/disk"
        finally:
            server.shutdown()


def test_a_fetch_is_begun_again_after_the_api_was_killed_in_it(cluster: Cluster) -> None:
    with site() as url:
        cluster.wait("the API answers", lambda: httpx.get(f"{cluster.url}/readyz").is_success)
        answer = httpx.post(f"{cluster.url}/v1/images", json={"name": "far", "url": url}, timeout=30)
        image = answer.raise_for_status().json()
        cluster.wait("the API fetches", lambda: Slow.asked == 1)
        api = cluster.processes["api"]
        starts = api.starts
        api.kill()
        cluster.wait("the API is back", lambda: api.starts > starts and httpx.get(f"{cluster.url}/readyz").is_success)
        with httpx.Client(base_url=f"{cluster.url}/v1", timeout=30) as http:
            assert active(http, image["id"])["checksum"] == hashlib.sha256(Slow.content).hexdigest()
            events = http.get("/images/far/history").json()["events"]
        assert Slow.asked == 2
        # That it had begun was said twice, and is one fact.
        kinds = [each["type"] for each in events if each["type"].startswith("gostack.image.")]
        assert [kind.split(".")[-2] for kind in kinds] == ["created", "upload-begun", "uploaded", "activated"]
    cluster.check()
