"""The HTTP client: every request of `gs` goes through here.

Why its own class: each write carries an Idempotency-Key, so a lost connection may be tried again without doing
anything twice; tries, pauses and the user's `--timeout` bound every request; and `--debug` shows the exchange with
the secrets masked.
"""

import getpass
import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

# httpx brings a command line of its own, whose imports take longer than all others here. This makes it leave that out.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]

import httpx  # noqa: E402

from cli.gs.problems import GsError, TimedOut, Unreachable, Usage, of_answer  # noqa: E402
from cli.terminal import echo  # noqa: E402

DEFAULT_URL = "http://127.0.0.1:7480"
PROJECT_HEADER = "X-GoStack-Project"
DEFAULT_PROJECT = "admin"
"""The project that the service assumes if a request names none."""
ATTEMPTS = 4
FIRST_PAUSE = 0.2  # seconds; doubled at each attempt
LONGEST_PAUSE = 30.0  # seconds; a longer Retry-After is cut to this
TOLD_FROM = 1.0  # seconds; longer pauses are announced to the user
CONNECT_TIMEOUT = 5.0  # seconds
GRAIN = 0.001  # seconds; a shorter rest counts as none
READ_TIMEOUT = 60.0  # seconds; above what the service may wait for a read model
TOO_MANY = 429
PARTIAL = 206
TRY_AGAIN = frozenset({TOO_MANY, 502, 503, 504})
HOPELESS = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)
"""Errors that another attempt does not mend."""
TEXT = "text/plain"
"""Type of the one kind of answer that is no JSON: what a guest wrote."""
SECRETS = frozenset({"password", "admin_password", "user_data", "private_key", "token", "secret", "authorization"})
MASK = "********"
SHOWN_OF_A_BODY = 4000  # characters of a body that is no JSON

Content = Callable[[], Iterator[bytes]]
"""A function that makes the body anew for each attempt."""


@dataclass(frozen=True)
class Deadline:
    """The time limit of a run, in seconds from its beginning."""

    seconds: float | None
    now: Callable[[], float] = time.monotonic
    began: float = field(default=0.0)

    @classmethod
    def starting(cls, seconds: float | None, now: Callable[[], float] = time.monotonic) -> "Deadline":
        """Return a deadline that runs from this moment; None sets no limit."""
        return cls(seconds, now, now())

    @property
    def elapsed(self) -> float:
        """Seconds that have passed since the beginning."""
        return self.now() - self.began

    @property
    def left(self) -> float | None:
        """Seconds that are left; None if there is no limit."""
        return None if self.seconds is None else self.seconds - self.elapsed

    def check(self) -> None:
        """Raise TimedOut if the deadline has passed."""
        if self.left is not None and self.left <= GRAIN:
            raise self.passed()

    def passed(self) -> TimedOut:
        """Return the error that says that the deadline has passed."""
        return TimedOut(f"The {self.seconds:g} s of --timeout have passed.")

    def at_most(self, seconds: float) -> float:
        """Return this many seconds, or fewer if fewer are left."""
        return seconds if self.left is None else max(GRAIN, min(seconds, self.left))


@dataclass(frozen=True)
class Answer:
    """An answer of the service."""

    status: int
    body: Any
    """The decoded JSON; None for an answer that is none."""
    text: str

    def get(self, key: str) -> Any:
        """Return a field of a JSON object, or None."""
        return self.body.get(key) if isinstance(self.body, dict) else None

    def without(self, key: str) -> "Answer":
        """Return the same answer without a field."""
        if not isinstance(self.body, dict) or key not in self.body:
            return self
        body = {name: value for name, value in self.body.items() if name != key}
        return Answer(self.status, body, json.dumps(body, ensure_ascii=False))

    def items(self, plural: str) -> list[dict[str, Any]]:
        """Return the documents of an answer that is a list."""
        found = self.get(plural)
        return list(found) if isinstance(found, list) else []


class Client:
    """HTTP client of a service, with retries and a deadline."""

    def __init__(
        self,
        url: str,
        deadline: Deadline,
        *,
        debug: bool = False,
        headers: Mapping[str, str] | None = None,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        self.project = (headers or {}).get(PROJECT_HEADER, DEFAULT_PROJECT)
        self.deadline = deadline
        self._debug = debug
        self._sleep = sleep
        secure = _is_secure(self.url)
        try:
            self._http = httpx.Client(
                base_url=f"{self.url}/v1",
                headers={"Accept": "application/json", "User-Agent": "gs", **(headers or {})},
                transport=transport,
                # Loading the certificates takes longer than a request does.
                verify=secure,
            )
        except (OSError, ValueError, ImportError, httpx.InvalidURL) as error:
            # Of the environment: certificates that cannot be read, a proxy that is none.
            raise Usage(
                f"No connection to {self.url} can be set up: {error}.",
                "SSL_CERT_FILE, SSL_CERT_DIR, HTTP_PROXY, HTTPS_PROXY and ALL_PROXY say how.",
            ) from error

    def close(self) -> None:
        """Close all connections to the service."""
        self._http.close()

    def get(self, path: str, **params: Any) -> Answer:
        """Read from a path of the service. Raises GsError."""
        return self._exchange("GET", path, params=params)

    def look(self, path: str, **params: Any) -> Answer | None:
        """Read with a single attempt; None if it fails. Raises TimedOut."""
        try:
            return self._exchange("GET", path, params=params, attempts=1)
        except TimedOut:
            raise
        except GsError:
            return None

    def write(self, method: str, path: str, body: Any = None, *, params: Mapping[str, Any] | None = None) -> Answer:
        """Send a change with an Idempotency-Key, which makes retries safe. Raises GsError."""
        return self._exchange(method, path, params=params, body=body, headers={"Idempotency-Key": str(uuid.uuid4())})

    def piece(self, path: str, params: Mapping[str, Any], content: Content, size: int) -> Answer:
        """Upload a piece of a file, with a single attempt: the caller asks how much came. Raises GsError."""
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        return self._exchange("PATCH", path, params=params, content=content, headers=headers, attempts=1)

    @contextmanager
    def fetch(self, path: str, begin: int) -> Iterator[Iterator[bytes]]:
        """Yield the bytes of a file from `begin` on, with a single attempt: the caller goes on where it broke off.

        Raises GsError; Unreachable while the bytes are read, too.
        """
        request = self._http.build_request("GET", path, headers={"Range": f"bytes={begin}-"} if begin else {})
        request.extensions["timeout"] = self._timeout(READ_TIMEOUT).as_dict()
        self._tell_request(request, None)
        response = None
        try:
            response = self._http.send(request, stream=True)
            if response.status_code >= 400:
                response.read()
                raise of_answer(response.status_code, _decoded(response))
            if begin and response.status_code != PARTIAL:
                raise Unreachable("The service sends the whole file, and a part of it was asked for.")
            self._tell_answer(response, streamed=True)
            yield response.iter_bytes()
        except (httpx.RequestError, httpx.InvalidURL) as error:
            self.deadline.check()
            raise self._unreachable(error) from error
        finally:
            if response is not None:
                response.close()

    @contextmanager
    def stream(self, path: str, *, params: Mapping[str, Any], headers: Mapping[str, str]) -> Iterator[Iterator[str]]:
        """Yield the lines of an answer without end. There is one attempt: the caller resumes a broken stream.

        Raises GsError, httpx.TransportError.
        """
        request = self._http.build_request("GET", path, params=_given(params), headers=dict(headers))
        request.extensions["timeout"] = self._timeout(READ_TIMEOUT).as_dict()
        self._tell_request(request, None)
        response = self._http.send(request, stream=True)
        try:
            if response.status_code >= 400:
                response.read()
                self._tell_answer(response)
                raise of_answer(response.status_code, _decoded(response))
            self._tell_answer(response, streamed=True)
            yield _lines(response.iter_bytes())
        finally:
            response.close()

    def pause(self, seconds: float) -> None:
        """Wait this many seconds, but not past the deadline. Raises TimedOut."""
        self.deadline.check()
        self._sleep(self.deadline.at_most(seconds))
        self.deadline.check()

    def _exchange(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        content: Content | None = None,
        headers: Mapping[str, str] | None = None,
        attempts: int = ATTEMPTS,
    ) -> Answer:
        pause = FIRST_PAUSE
        for attempt in range(1, attempts + 1):
            self.deadline.check()
            last = attempt == attempts
            try:
                response = self._once(method, path, params, body, content, headers)
            except (httpx.RequestError, httpx.InvalidURL) as error:
                self.deadline.check()
                if last or not isinstance(error, httpx.TransportError) or isinstance(error, HOPELESS):
                    raise self._unreachable(error) from error
                wanted = pause
            else:
                if response.status_code < 400:
                    return self._answer(response)
                if last or response.status_code not in TRY_AGAIN:
                    raise of_answer(response.status_code, _decoded(response))
                wanted = max(pause, _retry_after(response))
                if response.status_code == TOO_MANY and wanted >= TOLD_FROM:
                    echo(f"The service is overloaded; trying again in {wanted:.0f} s", err=True)
            self.pause(min(wanted, LONGEST_PAUSE))
            pause *= 2
        raise AssertionError("the last attempt returns or raises")

    def _once(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None,
        body: Any,
        content: Content | None,
        headers: Mapping[str, str] | None,
    ) -> httpx.Response:
        request = self._http.build_request(
            method,
            path,
            params=_given(params or {}),
            json=body,
            content=content() if content else None,
            headers=dict(headers or {}),
        )
        request.extensions["timeout"] = self._timeout(READ_TIMEOUT).as_dict()
        self._tell_request(request, body)
        response = self._http.send(request)
        self._tell_answer(response)
        return response

    def _timeout(self, read: float) -> httpx.Timeout:
        within = self.deadline.at_most
        return httpx.Timeout(within(read), connect=within(CONNECT_TIMEOUT))

    def _answer(self, response: httpx.Response) -> Answer:
        """Return the answer in a response. Raises Unreachable if it cannot be GoStack's."""
        body = _decoded(response)
        kind = response.headers.get("content-type", "").partition(";")[0].strip() or "nothing"
        if response.is_redirect or (response.content and body is None and kind != TEXT and response.text != "null"):
            raise Unreachable(
                f"What answers at {self.url} is not GoStack: status {response.status_code}, with {kind}.",
                "GS_API holds its address, if it is another one.",
            )
        return Answer(response.status_code, body, response.text)

    def _unreachable(self, error: Exception) -> GsError:
        why = str(error) or type(error).__name__
        return Unreachable(
            f"The service at {self.url} could not be reached: {why}.",
            "Is it running? GS_API holds its address, if it is another one.",
        )

    def _tell_request(self, request: httpx.Request, body: Any) -> None:
        if not self._debug:
            return
        _tell(">", f"{request.method} {request.url}")
        _tell_headers(">", request.headers)
        if body is not None:
            _tell(">", json.dumps(masked(body), ensure_ascii=False))
        elif size := request.headers.get("content-length"):
            _tell(">", f"({size} bytes)")

    def _tell_answer(self, response: httpx.Response, streamed: bool = False) -> None:
        if not self._debug:
            return
        _tell("<", f"{response.status_code} {response.reason_phrase}")
        _tell_headers("<", response.headers)
        if streamed:
            return
        body = _decoded(response)
        told = response.text[:SHOWN_OF_A_BODY] if body is None else json.dumps(masked(body), ensure_ascii=False)
        _tell("<", told)


def connect(deadline: Deadline, *, debug: bool, transport: httpx.BaseTransport | None = None) -> Client:
    """Return a client for the service that the environment names. Raises Usage."""
    return Client(
        os.environ.get("GS_API") or DEFAULT_URL,
        deadline,
        debug=debug,
        headers=identity(os.environ),
        transport=transport,
    )


def identity(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that name the user, the project and the reason of a request."""
    said = {
        "X-GoStack-Actor": environment.get("GS_ACTOR") or _login(),
        PROJECT_HEADER: environment.get("GS_PROJECT", ""),
        "X-GoStack-Reason": environment.get("GS_REASON", ""),
    }
    return {name: value for name, value in said.items() if value and value.isascii() and value.isprintable()}


def masked(value: Any) -> Any:
    """Return the same value with its secrets masked."""
    if isinstance(value, dict):
        return {key: MASK if key.lower() in SECRETS and each else masked(each) for key, each in value.items()}
    if isinstance(value, list):
        return [masked(each) for each in value]
    return value


def _is_secure(url: str) -> bool:
    """Return whether a URL is https. Raises Usage if it is no address of a service."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and " " not in url
    except ValueError:
        usable = False
    if not usable:
        raise Usage(f"{url!r} is no address of a service.", "GS_API holds it: http://HOST:PORT.")
    return parts.scheme == "https"


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        return ""


def _given(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value not in (None, "", [], False)}


def _decoded(response: httpx.Response) -> Any:
    if "json" not in response.headers.get("content-type", ""):
        return None
    try:
        return response.json()
    except ValueError:
        return None


def _lines(parts: Iterable[bytes]) -> Iterator[str]:
    """Yield lines as a stream of events defines them. httpx splits at every line end of Unicode, and names may have
    those."""
    rest = b""
    for part in parts:
        *whole, rest = (rest + part).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r").decode(errors="replace")


def _retry_after(response: httpx.Response) -> float:
    """Return the seconds in Retry-After; 0 for a date, since the service's clock may differ from ours."""
    try:
        return max(0.0, float(response.headers.get("retry-after", "0")))
    except ValueError:
        return 0.0


def _tell(direction: str, text: str) -> None:
    echo(f"{direction} {text}", err=True)


def _tell_headers(direction: str, headers: httpx.Headers) -> None:
    for name, value in headers.items():
        _tell(direction, f"{name}: {MASK if name.lower() in SECRETS else value}")
