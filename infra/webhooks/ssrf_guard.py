"""A guard against server-side request forgery (SSRF): webhooks reach no address of GoStack's own network.

Only the operator can allow that. Why the check is made at the connection, and not when a webhook is created: a name may
have another address tomorrow, so the address that was checked is the one that is connected to. Addresses that are not
of the public internet are refused (the special registries of RFC 6890), also where a public one has one embedded.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable, Iterator
from urllib.parse import SplitResult, urlsplit

import httpcore

LONGEST_URL = 2048
MOST_ADDRESSES = 4
"""Addresses of a name that are tried."""
PORTS = {"http": 80, "https": 443}
URL_ALLOWED = (
    "an http or https URL is needed, with a host (no part of its name empty or longer than 63 characters), without "
    f"user, password or fragment, of {LONGEST_URL} printable characters at most"
)
NOT_PUBLIC = "it is no address of the public internet, and webhooks.allow_private is off"
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


class NotAllowed(Exception):
    """The host has no address that webhooks may be sent to."""


def checked_url(url: str, *, allow_private: bool) -> SplitResult:
    """Parse and check the URL of an endpoint. Raises ValueError, whose text says what is allowed."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as wrong:
        raise ValueError(URL_ALLOWED) from wrong
    printable = url.isascii() and url.isprintable() and " " not in url
    if (
        len(url) > LONGEST_URL
        or not printable
        or parts.scheme not in PORTS
        or not parts.hostname
        or "@" in parts.netloc
        or "#" in url
        or port == 0
        or not _is_host_name(parts.hostname)
    ):
        raise ValueError(URL_ALLOWED)
    literal = _literal(parts.hostname)
    if not allow_private and (parts.hostname == "localhost" or (literal is not None and not is_public(literal))):
        raise ValueError(f"{parts.hostname}: {NOT_PUBLIC}")
    return parts


def is_public(address: Address) -> bool:
    """Return whether an address is of the public internet, and embeds no address that is not."""
    return address.is_global and not address.is_multicast and all(map(is_public, _embedded(address)))


def _embedded(address: Address) -> Iterator[Address]:
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            yield address.ipv4_mapped
        if address.sixtofour is not None:
            yield address.sixtofour
        if address.teredo is not None:
            yield from address.teredo
        if address in _NAT64:
            yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def _is_host_name(name: str) -> bool:
    """Return whether no label of the name is empty or longer than 63 characters (RFC 1035, section 2.3.4)."""
    try:
        return bool(name.encode("idna"))
    except UnicodeError:
        return False


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """A network backend for httpcore that connects to allowed addresses only."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first allowed address of the host that answers. Raises NotAllowed, httpcore.ConnectError."""
        problem: Exception = NotAllowed(f"{host}: {NOT_PUBLIC}")
        for address in (await self._addresses(host, port))[:MOST_ADDRESSES]:
            try:
                return await self._network.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                problem = error
        raise problem

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[SocketOption] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: a webhook has no Unix socket. Raises NotAllowed."""
        raise NotAllowed(path)

    async def sleep(self, seconds: float) -> None:
        """Sleep for so many seconds, as httpcore asks between attempts."""
        await self._network.sleep(seconds)

    async def _addresses(self, host: str, port: int) -> list[Address]:
        literal = _literal(host.strip("[]"))
        if literal is not None:
            found = [literal]
        else:
            try:
                answers = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError) as error:
                raise httpcore.ConnectError(f"{host} has no address: {error}") from error
            found = [ipaddress.ip_address(answer[4][0]) for answer in answers]
        return [each for each in found if self._allow_private or is_public(each)]
