"""Webhooks on real processes: whoever is killed, an endpoint gets every event at least once, in order per subject."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from tests.harness.receiver import is_signed
from tests.real.cluster import Process, running

pytestmark = pytest.mark.real

PATIENCE = 60.0
SETTINGS = {
    "GOSTACK_WEBHOOKS__ALLOW_PRIVATE": "true",
    "GOSTACK_WEBHOOKS__FIRST_PAUSE": "0.2",
    "GOSTACK_WEBHOOKS__LONGEST_PAUSE": "0.5",
    "GOSTACK_WEBHOOKS__ATTEMPTS": "1000",
}
FLAVORS = 40


class Endpoint:
    """Takes two of three messages, and keeps all that came."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.came = 0
        self.taken: list[tuple[dict[str, str], bytes]] = []

    def take(self, headers: dict[str, str], body: bytes) -> int:
        with self.lock:
            self.came += 1
            if self.came % 3 == 0:
                return 503
            self.taken.append((headers, body))
            return 204

    def events(self) -> list[dict[str, Any]]:
        with self.lock:
            return [json.loads(body) for _, body in self.taken]


@contextmanager
def listening() -> Iterator[tuple[str, Endpoint]]:
    endpoint = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(endpoint.take(dict(self.headers), body))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/hook", endpoint
        finally:
            server.shutdown()


def test_every_event_arrives_in_order_whoever_is_killed() -> None:
    with running(1, SETTINGS) as cluster, listening() as (url, endpoint), ExitStack() as stack:
        second = Process("webhooks", cluster.environment, cluster.directory / "second-webhooks.log")
        stack.callback(second.stop)
        workers = [cluster.processes["webhooks"], second]
        with httpx.Client(base_url=f"{cluster.url}/v1") as api:
            made = api.post("/webhooks", json={"name": "hook", "url": url, "wanted": {"types": ["flavor.*"]}}).json()
            names = [f"f{number}" for number in range(FLAVORS)]
            for number, name in enumerate(names):
                assert api.post("/flavors", json={"name": name, "core": 1, "memory": 1 << 30}).status_code == 201
                assert api.patch(f"/flavors/{name}", json={"core": 2}).status_code == 200
                if number in (FLAVORS // 4, FLAVORS // 2):
                    for worker in workers:
                        worker.kill()
            wanted = [event for event in _events(api) if event["type"].startswith("gostack.flavor.")]
            assert len(wanted) == 2 * FLAVORS
            # A lease of one that was killed stands for a minute.
            until = time.monotonic() + 2 * PATIENCE
            ids = {event["id"] for event in wanted}
            while {event["id"] for event in endpoint.events()} != ids and time.monotonic() < until:
                time.sleep(0.2)
            got = endpoint.events()
            assert {event["id"] for event in got} == ids
            last: dict[str, int] = {}
            for event in got:
                known = last.get(event["subject"], 0)
                assert event["aggversion"] <= known + 1
                last[event["subject"]] = max(known, event["aggversion"])
            assert all(is_signed(made["secret"], headers, body) for headers, body in endpoint.taken)
            delivery = _settled(api)
            assert delivery["delivered"] >= 2 * FLAVORS
            assert (delivery["failures"], delivery["last_error"]) == (0, None)
            check = subprocess.run(
                [sys.executable, "-m", "cli.gostack", "check"],
                env={**os.environ, **cluster.environment},
                capture_output=True,
                text=True,
                check=False,
            )
            assert check.returncode == 0, check.stdout


def _events(api: httpx.Client) -> list[dict[str, Any]]:
    after = api.post("/zones", json={"name": "last"}).headers.get("Location")
    assert after
    found: list[dict[str, Any]] = api.get("/events", params={"limit": 1000}).json()["events"]
    return found


def _settled(api: httpx.Client) -> dict[str, Any]:
    until = time.monotonic() + PATIENCE
    while True:
        delivery: dict[str, Any] = api.get("/webhooks/hook").json()["delivery"]
        if delivery["behind"] == 0 or time.monotonic() > until:
            return delivery
        time.sleep(0.2)
