"""Images fetched from URLs, past the guard against server-side request forgery at every redirect.

Why the webhooks' guard: an image's bytes can be read again, so an address of GoStack's own network would be shown to
whoever asks for an image of it.
"""

import ssl
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urljoin

import httpcore

from infra.process.error_text import named, text_of
from infra.webhooks.ssrf_guard import GuardedBackend, NotAllowed, checked_url, guarded_pool

MOST_REDIRECTS = 5
MOST_CONNECTIONS = 16
SILENCE = 60.0
"""Seconds that a server may take to answer, or to send something more."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})
LATER = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same request may be answered otherwise."""
USER_AGENT = "gostack-images"


class FetchRefused(Exception):
    """The URL gives no image, and never will; the text says why."""


class FetchFailed(Exception):
    """The URL gave no image, and may the next time; the text says why."""


@dataclass(frozen=True)
class Fetched:
    """An answer that is being read."""

    size: int | None
    """Bytes of the body; None where the server does not say."""
    chunks: AsyncIterator[bytes]


class ImageFetcher:
    """Fetches images over a pool of connections."""

    def __init__(
        self, *, allow_private: bool, own_ports: Collection[int] = (), tls: ssl.SSLContext | None = None
    ) -> None:
        """`tls` holds the certificates to trust, None is the system's; for the rest see the guard's."""
        self._allowed = {"allow_private": allow_private, "own_ports": own_ports}
        backend = GuardedBackend(allow_private=allow_private, own_ports=own_ports)
        self._pool = guarded_pool(backend, MOST_CONNECTIONS, tls)

    def check(self, url: str) -> None:
        """Check a URL before anything is fetched from it. Raises ValueError, whose text says what is allowed."""
        checked_url(url, **self._allowed)  # type: ignore[arg-type]

    @asynccontextmanager
    async def fetch(self, url: str) -> AsyncIterator[Fetched]:
        """Yield what a URL gives, where its last redirect leads. Raises FetchRefused, FetchFailed."""
        try:
            for _ in range(MOST_REDIRECTS + 1):
                self.check(url)
                headers = [("User-Agent", USER_AGENT), ("Accept-Encoding", "identity")]
                timeout = dict.fromkeys(("connect", "read", "write", "pool"), SILENCE)
                async with self._pool.stream("GET", url, headers=headers, extensions={"timeout": timeout}) as answer:
                    told = {name.decode().lower(): value.decode("latin-1") for name, value in answer.headers}
                    if answer.status in REDIRECTS and "location" in told:
                        url = urljoin(url, told["location"])
                        continue
                    _must_be_well(answer.status, told)
                    length = told.get("content-length", "")
                    yield Fetched(int(length) if length.isdigit() else None, answer.aiter_stream())
                    return
            raise FetchRefused(f"there are more than {MOST_REDIRECTS} redirects")
        except (ValueError, NotAllowed, httpcore.UnsupportedProtocol) as wrong:
            raise FetchRefused(str(wrong)) from wrong
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as away:
            raise FetchFailed(text_of(away)[:200] or named(away)) from away

    async def close(self) -> None:
        """Close all connections to servers."""
        await self._pool.aclose()


def _must_be_well(status: int, told: dict[str, str]) -> None:
    if status in LATER:
        raise FetchFailed(f"the server answers {status}")
    if status != 200:
        raise FetchRefused(f"the server answers {status}")
    if (coding := told.get("content-encoding", "identity")) not in ("", "identity"):
        raise FetchRefused(f"the server sends it encoded ({coding[:32]})")
