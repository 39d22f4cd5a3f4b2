"""The duration of each request, by the pattern of its path: an id in a path must not become a metric of its own.

Log lines that are written while a request is answered name the request, and its answer names its trace.
"""

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.process import log_context, metrics, traces

logger = logging.getLogger(__name__)

LONGEST_PATH = 500
TRACE = b"traceresponse"
"""Header that says which trace a request is part of (https://w3c.github.io/trace-context/#traceresponse-header)."""
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
"""Methods that are labels of the metric; any other is counted as `other`, so that clients cannot invent labels."""


class Timing:
    """ASGI middleware that measures the duration of each request in seconds."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and record how long it took until the whole answer was sent."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        status = 500
        ends = True

        trace = traces.here()

        async def noted(message: Message) -> None:
            nonlocal status, ends
            if message["type"] == "http.response.start":
                status = message["status"]
                if trace:
                    message = {**message, "headers": [*message["headers"], (TRACE, trace.encode())]}
                ends = (b"content-type", b"text/event-stream") not in {
                    (name.lower(), value.partition(b";")[0]) for name, value in message["headers"]
                }
            await send(message)

        method = scope["method"] if scope["method"] in METHODS else "other"
        with log_context.bound(request=f"{method} {scope['path'][:LONGEST_PATH]}", trace=log_context.trace_id(trace)):
            try:
                await self._app(scope, receive, noted)
            except BaseException:
                # It is answered, and logged, outside of here.
                scope["work"] = log_context.fields()
                raise
            finally:
                seconds = time.monotonic() - began
                logger.debug("answered %s in %.3f s", status, seconds)
                if ends:
                    # Whether the prefix belongs to a route's path differs between releases of FastAPI.
                    route = getattr(scope.get("route"), "path", "").removeprefix("/v1") or "unknown"
                    metrics.REQUEST_SECONDS.labels(method, route, status).observe(seconds)
