"""A collector of traces: takes OTLP over HTTP, and remembers."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from infra.process.traces import PATH


class Collected(NamedTuple):
    """A span as it came."""

    service: str
    name: str
    trace: str
    id: str
    parent: str


class Collector(http.server.ThreadingHTTPServer):
    """Listens on a port of its own."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Door)
        self.bodies: list[bytes] = []

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def spans(self) -> list[Collected]:
        """All that came so far."""
        found = []
        for body in list(self.bodies):
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                names = {each.key: each.value.string_value for each in resource.resource.attributes}
                found += [
                    Collected(
                        names["service.name"],
                        span.name,
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                    )
                    for scope in resource.scope_spans
                    for span in scope.spans
                ]
        return found


class Door(http.server.BaseHTTPRequestHandler):
    """One request."""

    server: Collector

    def do_POST(self) -> None:
        """Take a batch."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == PATH:
            self.server.bodies.append(body)
        self.send_response(200 if self.path == PATH else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def receiving() -> Iterator[Collector]:
    """A collector, for the time of a block."""
    server = Collector()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
