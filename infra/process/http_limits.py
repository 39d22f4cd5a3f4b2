"""The limits of an HTTP server: how large and how slow a request may be, and how many connections one source may have.

Why here, and not in a middleware: uvicorn with httptools keeps the header section, however large it grows, before any
application sees it, and waits for ever for the rest of a request. Its protocol class is the one place that sees every
byte of every connection. Time is not kept by a timer for each connection, which each request would have to set and
cancel: the server looks at all connections once a second.
"""

import asyncio
import ipaddress
import json
import logging
import time
from collections import Counter
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, NamedTuple

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from infra.process import metrics
from infra.process.settings import Http

if TYPE_CHECKING:
    from uvicorn.server import ServerState

logger = logging.getLogger(__name__)

RATE_SECONDS = 60.0
"""Seconds of waiting for a body over which its rate is measured."""
LINGER_SECONDS = 5.0
"""Seconds for which the rest of a body is read, and thrown away, after its request was answered."""
MOST_PIPELINED = 16
"""Requests of one connection that may wait for the answer to an earlier one."""
LOG_SECONDS = 60.0
"""Least seconds between two log lines about the same limit of a server."""
SEPARATORS = len(b": \r\n")
SOURCE_BITS = 64
"""Bits of an IPv6 address that name its network: whoever has one address there has all of them."""


class HttpRefusal(NamedTuple):
    """Why a connection is closed, below the application. Without a status it is closed without an answer."""

    code: str
    status: int
    detail: str
    """Text for the client, in which the names of limits stand for their values."""


MALFORMED = HttpRefusal("malformed", 400, "The request is no HTTP/1.1.")
TOO_LARGE = HttpRefusal(
    "header-too-large", 431, "Request line and header fields may have at most {header_bytes} bytes together."
)
SLOW_HEADER = HttpRefusal(
    "header-too-slow", 408, "Request line and header fields have to be here within {header_timeout:g} s."
)
SLOW_BODY = HttpRefusal(
    "body-too-slow",
    408,
    "Of the request's body no byte came for {body_timeout:g} s, or fewer than {body_rate} bytes a second for a minute.",
)
TOO_MANY = HttpRefusal(
    "too-many-connections", 429, "{connections} connections from one address are allowed at once, and there are more."
)
PIPELINED = HttpRefusal("too-many-requests-ahead", 429, "Wait for the answers to requests before more are sent.")
UNREAD = HttpRefusal("answer-not-read", 0, "")


class _Stopped(Exception):
    """Ends the parser from within, for one of the refusals above."""

    def __init__(self, refusal: HttpRefusal) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal


class _Phase(Enum):
    """The part of a request that a connection waits for."""

    IDLE = auto()
    """The next request, if there is one; or the application, whose answer is not complete."""
    HEADER = auto()
    BODY = auto()


class ConnectionWatch:
    """The connections of one server, and the limits that they are held to."""

    def __init__(self, server: str, limits: Http) -> None:
        """Watch no connection yet. `server` names the server in metrics and in the log."""
        self.limits = limits
        self._server = server
        self._of_source: Counter[str] = Counter()
        self._silenced: Counter[str] = Counter()
        self._logged: dict[str, float] = {}

    def opened(self, source: str) -> bool:
        """Count a connection, and return whether its source may have it."""
        self._of_source[source] += 1
        return self._of_source[source] <= self.limits.connections

    def closed(self, source: str) -> None:
        """Count a connection no more."""
        self._of_source[source] -= 1
        if not self._of_source[source]:
            del self._of_source[source]

    def refused(self, refusal: HttpRefusal, source: str) -> None:
        """Count a refusal, and log it unless the same was logged within LOG_SECONDS."""
        metrics.HTTP_REFUSED.labels(self._server, refusal.code).inc()
        now = time.monotonic()
        if now - self._logged.get(refusal.code, -LOG_SECONDS) < LOG_SECONDS:
            self._silenced[refusal.code] += 1
            return
        self._logged[refusal.code] = now
        more = self._silenced.pop(refusal.code, 0)
        since = f" (and {more} since the last such line)" if more else ""
        logger.warning("%s closed a connection from %s: %s%s", self._server, source or "here", refusal.code, since)


class LimitedConfig(uvicorn.Config):
    """uvicorn's configuration of one server, with the watch over its connections."""

    def __init__(self, watch: ConnectionWatch, app: Any, **options: Any) -> None:
        # Other protocols are not spoken: what asks for an upgrade is answered as the plain request that it is.
        super().__init__(app, http=LimitedProtocol, ws="none", **options)
        self.watch = watch


class LimitedProtocol(HttpToolsProtocol):
    """A connection of a client, which ends where one of the server's limits is passed."""

    def __init__(
        self,
        config: LimitedConfig,
        server_state: "ServerState",
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._watch = config.watch
        self._limits = config.watch.limits
        self._source = ""
        self._phase = _Phase.HEADER
        self._waited = 0.0
        """Seconds in this phase; of a body, in which it was waited for since its rate was measured last."""
        self._silent = 0.0
        """Seconds without a byte of the body that is waited for."""
        self._received = 0
        """Bytes of the body since its rate was measured last."""
        self._unread = 0
        """Bytes since the last that belonged to a complete header section or to a body."""
        self._buffered = 0
        """Bytes of answers that the client had not taken at the last look."""
        self._unsent = 0.0
        """Seconds in which the client took none of them."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request, unless its source has too many connections."""
        super().connection_made(transport)
        self._source = source_of(self.client[0]) if self.client else ""
        if not self._watch.opened(self._source) and self._source:
            self._refuse(TOO_MANY)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the connection no more."""
        self._watch.closed(self._source)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and refuse what is no HTTP or has too large a header section."""
        self._unset_keepalive_if_required()
        if self._phase is _Phase.IDLE:
            self._begin(_Phase.HEADER)
        self._unread += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.cycle.keep_alive = False
        except httptools.HttpParserError as error:
            stopped = error.__context__
            self._refuse(stopped.refusal if isinstance(stopped, _Stopped) else MALFORMED)
        else:
            if self._unread > self._limits.header_bytes and not self.transport.is_closing():
                self._refuse(TOO_LARGE)

    def on_headers_complete(self) -> None:
        """Pass the request on, unless its header section is too large or too many wait before it."""
        if self._unread > self._limits.header_bytes and self._header_size() > self._limits.header_bytes:
            raise _Stopped(TOO_LARGE)
        if len(self.pipeline) >= MOST_PIPELINED:
            raise _Stopped(PIPELINED)
        self._begin(_Phase.BODY)
        self._unread = 0
        super().on_headers_complete()
        # Fields that come after a body must not become header fields of a request that was let in without them.
        self.headers = []

    def on_body(self, body: bytes) -> None:
        """Count what came of the body."""
        self._unread = 0
        self._silent = 0.0
        self._received += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Wait for nothing more, until the application has answered."""
        self._unread = 0
        self._begin(_Phase.HEADER if self.cycle.response_complete else _Phase.IDLE)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of a body that nobody wants any more."""
        self._begin(_Phase.BODY if self._phase is _Phase.BODY else _Phase.IDLE)
        super().on_response_complete()

    def resume_writing(self) -> None:
        """Note that the client took something of the answer."""
        self._unsent = 0.0
        super().resume_writing()

    def look(self, seconds: float) -> None:
        """Close the connection if it waits for its client too long; `seconds` have passed since the last look."""
        buffered = self.transport.get_write_buffer_size()
        self._unsent = self._unsent + seconds if buffered and buffered >= self._buffered else 0.0
        self._buffered = buffered
        if self._unsent > self._limits.send_timeout:
            self._watch.refused(UNREAD, self._source)
            self.transport.abort()
        elif self._phase is not _Phase.IDLE and not self.transport.is_closing():
            answering = self.cycle is not None and not self.cycle.response_complete
            if self._phase is _Phase.HEADER:
                if not answering:
                    self._look_at_header(seconds)
            elif answering:
                self._look_at_body(seconds)
            else:
                self._waited += seconds
                if self._waited > LINGER_SECONDS:
                    self.transport.close()

    def _look_at_header(self, seconds: float) -> None:
        self._waited += seconds
        if self._waited > self._limits.header_timeout:
            if self._unread:
                self._refuse(SLOW_HEADER)
            else:
                self.transport.close()

    def _look_at_body(self, seconds: float) -> None:
        if self.flow.read_paused:
            # The application takes its time, not the client.
            return
        self._silent += seconds
        self._waited += seconds
        if self._silent > self._limits.body_timeout:
            self._refuse(SLOW_BODY)
        elif self._waited >= RATE_SECONDS:
            if self._received < self._limits.body_rate * self._waited:
                self._refuse(SLOW_BODY)
            self._waited, self._received = 0.0, 0

    def _begin(self, phase: _Phase) -> None:
        self._phase = phase
        self._waited = self._silent = 0.0
        self._received = 0

    def _header_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + SEPARATORS for name, value in self.headers)

    def _refuse(self, refusal: HttpRefusal) -> None:
        """Answer, unless another answer has begun, and close the connection."""
        self._watch.refused(refusal, self._source)
        cycle = self.cycle
        answering = cycle is not None and not cycle.response_complete
        if not (answering and cycle.response_started):
            self.transport.write(self._answer(refusal))
        if answering:
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()

    def _answer(self, refusal: HttpRefusal) -> bytes:
        body = json.dumps(
            {
                "type": f"urn:gostack:problem:{refusal.code}",
                "title": refusal.code.replace("-", " ").capitalize(),
                "status": refusal.status,
                "detail": refusal.detail.format(**self._limits.model_dump()),
                "code": refusal.code,
                "hint": "",
                "values": {},
                "instance": "",
            }
        ).encode()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/problem+json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        if refusal.status == 429:
            headers.append((b"retry-after", b"1"))
        lines = [STATUS_LINE[refusal.status], *(b"%s: %s\r\n" % each for each in headers)]
        return b"".join([*lines, b"\r\n", body])


def source_of(address: str) -> str:
    """Return what connections are counted by: an IPv4 address, or the network of an IPv6 address."""
    if ":" not in address:
        return address
    found = ipaddress.IPv6Address(address.partition("%")[0])
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((int(found) >> SOURCE_BITS << SOURCE_BITS, 128 - SOURCE_BITS)))
