"""`gs` in this process, against a service that answers as a test says."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from cli.gs.main import app

Reply = Callable[[httpx.Request], httpx.Response]


@dataclass
class Service:
    """Answers by method and path: the replies of a route in turn, the last one for ever. Keeps what it was asked."""

    replies: dict[str, list[Reply]] = field(default_factory=dict)
    asked: list[httpx.Request] = field(default_factory=list)

    def on(self, route: str, *answers: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """An answer is a JSON body, an exception to raise, or a whole Response."""
        self.replies[route] = [_reply(answer, status, headers) for answer in answers]

    def handle(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.asked.append(request)
        replies = self.replies.get(f"{request.method} {request.url.path}")
        if replies is None:
            raise AssertionError(f"nobody expected {request.method} {request.url}")
        return (replies.pop(0) if len(replies) > 1 else replies[0])(request)


def _reply(answer: Any, status: int, headers: dict[str, str] | None) -> Reply:
    def reply(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx.Response):
            return answer
        return httpx.Response(status, json=answer, headers=headers)

    return reply


@dataclass
class Gs:
    """The command line and the service behind it."""

    service: Service

    def __call__(self, *words: str) -> Result:
        return CliRunner().invoke(app, list(words), obj=httpx.MockTransport(self.service.handle))


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def gs(service: Service, monkeypatch: pytest.MonkeyPatch) -> Gs:
    monkeypatch.setattr("cli.gs.client.FIRST_PAUSE", 0.001)
    monkeypatch.setattr("cli.gs.waiting.FIRST_PAUSE", 0.001)
    monkeypatch.delenv("GS_API", raising=False)
    return Gs(service)


def problem(code: str, status: int, detail: str, hint: str = "") -> httpx.Response:
    """An error as the service puts it."""
    body = {"type": f"urn:gostack:problem:{code}", "title": code, "status": status, "detail": detail}
    content = body | {"code": code, "hint": hint, "values": {}}
    return httpx.Response(status, json=content, headers={"content-type": "application/problem+json"})
