"""A guard against requests that a caller does not know of: those that a web page makes its reader's browser send, and
those that GoStack's own webhooks send.

Why: as long as nobody has to prove who they are, whoever reaches the API may command it, and every web page reaches
what its reader's browser reaches. A browser says in `Origin` and `Sec-Fetch-Site` which page a request is from; and a
page that gives its own name the API's address (DNS rebinding) still calls the API by that name, in `Host`.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable
from functools import lru_cache

from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.problems import of_refusal, response
from api.http.refusals import ForeignOrigin, Malformed, OwnDelivery, WrongHost
from domain.core.errors import Refusal
from infra.webhooks.sender import USER_AGENT

HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\s:/?#@\[\]]+))(?::\d{1,5})?", re.IGNORECASE)
"""The form of a Host header (RFC 9110, section 7.2): an IPv6 address in brackets, or a name or IPv4 address; a port."""
SAFE = {"GET", "HEAD", "OPTIONS"}
"""Methods that change nothing. A browser shows their answers to no page of another origin."""
OWN_PAGES = {b"same-origin", b"none"}
"""Values of Sec-Fetch-Site of a request that no page of another origin made."""
ANY = "*"
REMEMBERED = 256
"""Host headers whose check is remembered."""


class OwnNames:
    """The names and addresses by which requests may call the API."""

    def __init__(self, listen: str = "127.0.0.1", more: Iterable[str] = ()) -> None:
        """Allow loopback, this machine's name, the address `listen`, and `more` names, of which `*` is any.

        An API that listens on all addresses may be called by any of them: a page cannot give itself an address."""
        machine = socket.gethostname()
        names = {"localhost", machine, machine.partition(".")[0], listen, *more}
        self._names = {name.strip().lower() for name in names} - {""}
        address = _address(listen)
        self._every_address = address is not None and address.is_unspecified
        self.refused = lru_cache(REMEMBERED)(self._refused)
        """Return why a request with this Host header is refused; None for one of the API's own names."""

    def _refused(self, host: bytes) -> Refusal | None:
        found = HOST.fullmatch(host.decode("latin-1"))
        if found is None:
            return Malformed(why="Host is no name or address")
        name = (found[1] or found[2]).lower().removesuffix(".")
        address = _address(name)
        own = name in self._names or ANY in self._names
        if own or (address is not None and (address.is_loopback or self._every_address)):
            return None
        return WrongHost(name=name)


class CallerGuard:
    """ASGI middleware that refuses requests by a foreign name, and writes of foreign web pages and own webhooks."""

    def __init__(self, app: ASGIApp, names: OwnNames) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 400, 403 or 421."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await response(of_refusal(refusal, scope["path"]))(scope, receive, send)

    def _refusal(self, scope: Scope) -> Refusal | None:
        hosts, origin, site, agent = [], b"", b"none", b""
        for name, value in scope["headers"]:
            if name == b"host":
                hosts.append(value)
            elif name == b"origin":
                origin = value
            elif name == b"sec-fetch-site":
                site = value
            elif name == b"user-agent":
                agent = value
        if len(hosts) != 1:
            # Only an older HTTP goes without; a browser never does.
            return Malformed(why="one Host is needed") if hosts or scope["http_version"] != "1.0" else None
        if refusal := self._names.refused(hosts[0]):
            return refusal
        if scope["method"] in SAFE:
            return None
        if agent == USER_AGENT.encode():
            return OwnDelivery()
        if site not in OWN_PAGES or (origin and origin.partition(b"://")[2].lower() != hosts[0].lower()):
            return ForeignOrigin(origin=origin.decode("latin-1")[:255] or "another site")
        return None


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
