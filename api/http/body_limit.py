"""A bound on request bodies, before anything reads them. Uploads of images have a bound of their own."""

import re

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.problems import of_refusal, response
from api.http.refusals import TooLarge

UNBOUNDED = re.compile(r"/v1/images/[^/]+/file|/internal/v1/images/uploads/[^/]+")
"""Paths whose bodies this limit does not apply to."""


class BodyTooLarge(HTTPException):
    """The body has more bytes than it may: FastAPI lets an HTTPException through while it reads a body."""


class BodyLimit:
    """ASGI middleware that refuses request bodies above a size in bytes."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 413: at once if Content-Length is above the limit, otherwise as soon as the body exceeds it."""
        if scope["type"] != "http" or UNBOUNDED.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        told = dict(scope["headers"]).get(b"content-length", b"0")
        if not told.isdigit() or int(told) > self._most:
            await response(of_refusal(TooLarge(most=self._most), scope["path"]))(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._most:
                raise BodyTooLarge(413)
            return message

        await self._app(scope, counted, send)
