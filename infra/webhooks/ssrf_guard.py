"""A guard against server-side request forgery (SSRF): webhooks reach no address of GoStack's own network.

Only the operator can allow that, and not even the operator for GoStack's own servers, which would then be commanded by
them. Why the check is made at the connection, and not only when a webhook is created: a name may have another address
tomorrow, so the address that was checked is the one that is connected to. Addresses that are not of the public internet
are refused (the special registries of RFC 6890), also where a public one has one embedded.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Collection, Iterable
from functools import cache
from typing import Any
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
NOT_PUBLIC = "it is no address of the public internet, and allow_private is off"
OWN = "it is an address of GoStack's own"
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
"""The IPv6 addresses that are given out to anybody on the internet. Outside of it are loopback, unique local,
link-local, site-local (fec0::/10) and multicast addresses, segment routing (5f00::/16), and those in which an IPv4
address stands (::/96, ::ffff:0:0:0/96), of which two kinds are judged by it: mapped ones (::ffff:0:0/96) and NAT64."""
NAT64 = ipaddress.ip_network("64:ff9b::/96")
NOT_FOR_THE_INTERNET = tuple(
    map(
        ipaddress.ip_network,
        (
            "3fff::/20",  # for documentation (RFC 9637), which this Python may not know yet
            "2002::/16",  # 6to4: an IPv4 address stands in it, and no relay is left (RFC 7526)
            "192.88.99.0/24",  # those relays
            # Azure gives every machine its agent and its name server here: it is registered as public, but answers
            # inside a machine of theirs only, as the metadata services of other clouds do at link-local addresses.
            "168.63.129.16/32",
        ),
    )
)
"""Addresses that look public and are not."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


class NotAllowed(Exception):
    """The host has no address that webhooks may be sent to."""


def checked_url(url: str, *, allow_private: bool, own_ports: Collection[int] = ()) -> SplitResult:
    """Parse and check the URL of an endpoint, which may not lead to one of `own_ports` of this machine.

    Raises ValueError, whose text says what is allowed."""
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
    literal = ipaddress.IPv4Address("127.0.0.1") if parts.hostname == "localhost" else _literal(parts.hostname)
    if literal is not None and not allow_private and not is_public(literal):
        raise ValueError(f"{parts.hostname}: {NOT_PUBLIC}")
    if literal is not None and (port or PORTS[parts.scheme]) in own_ports and is_of_this_machine(literal):
        raise ValueError(f"{parts.netloc}: {OWN}")
    return parts


def is_public(address: Address) -> bool:
    """Return whether an address is of the public internet, and embeds no address that is not."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in NAT64:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address not in GLOBAL_UNICAST:
            return False
    elif address.is_multicast:
        return False
    return address.is_global and not any(address in each for each in NOT_FOR_THE_INTERNET)


def is_of_this_machine(address: Address) -> bool:
    """Return whether an address is one of this machine's: only those can be bound to."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True


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

    def __init__(self, *, allow_private: bool, own_ports: Collection[int] = ()) -> None:
        self._allow_private = allow_private
        self._own_ports = frozenset(own_ports)
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
            if port in self._own_ports and is_of_this_machine(address):
                raise NotAllowed(f"{host}: {OWN}")
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


def guarded_pool(
    backend: GuardedBackend, most: int, tls: ssl.SSLContext | None = None, **more: Any
) -> httpcore.AsyncConnectionPool:
    """Make a pool of at most `most` connections that the backend allows. `tls`: the certificates to trust; None: the
    system's. `more`: further arguments of the pool."""
    return httpcore.AsyncConnectionPool(
        ssl_context=tls or _trusting_the_system(), max_connections=most, network_backend=backend, **more
    )


@cache
def _trusting_the_system() -> ssl.SSLContext:
    """Return a context with the system's certificates; one a process, since reading them all takes a while."""
    return ssl.create_default_context()
