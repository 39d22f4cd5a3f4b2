"""How long each request took, by the pattern of its path: an id in a path must not become a metric of its own."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra import metrics

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
"""What else a client calls its method is told as `other`: labels must not be for clients to invent."""


class Timing:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and note how long it took until the whole answer was sent."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        status = 500
        ends = True

        async def noted(message: Message) -> None:
            nonlocal status, ends
            if message["type"] == "http.response.start":
                status = message["status"]
                ends = (b"content-type", b"text/event-stream") not in {
                    (name.lower(), value.partition(b";")[0]) for name, value in message["headers"]
                }
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            if ends:
                # Whether the prefix belongs to a route's path differs between releases of FastAPI.
                route = getattr(scope.get("route"), "path", "").removeprefix("/v1") or "unknown"
                method = scope["method"] if scope["method"] in METHODS else "other"
                metrics.REQUEST_SECONDS.labels(method, route, status).observe(time.monotonic() - began)
