"""Packets of IPv6 as a guest may make them up: neighbour discovery (RFC 4861), DHCPv6 (RFC 8415)."""

import socket
import struct
from ipaddress import IPv6Address

ALL_NODES, ALL_ROUTERS, DHCP_SERVERS = "ff02::1", "ff02::2", "ff02::1:2"
NOBODY = "::"
DESTINATION_OPTIONS = 60
ROUTER_ADVERT, NEIGHBOUR_SOLICIT, NEIGHBOUR_ADVERT, REDIRECT = 134, 135, 136, 137
SOLICIT, ADVERTISE, REQUEST, REPLY = 1, 2, 3, 7
CLIENT_ID, SERVER_ID, IA_NA, IA_ADDRESS, ELAPSED = 1, 2, 3, 5, 8


def frame(mac: str, source: str, to: str, following: int, payload: bytes) -> bytes:
    """Return a frame for all who listen to a group, with a packet of this protocol."""
    group = b"\x33\x33" + IPv6Address(to).packed[-4:]
    head = struct.pack("!IHBB", 6 << 28, len(payload), following, 255)
    return (
        group
        + bytes.fromhex(mac.replace(":", ""))
        + b"\x86\xdd"
        + head
        + IPv6Address(source).packed
        + IPv6Address(to).packed
        + payload
    )


def icmp(source: str, to: str, kind: int, body: bytes) -> bytes:
    """Return a message of ICMPv6 with its checksum."""
    return _with_sum(source, to, socket.IPPROTO_ICMPV6, struct.pack("!BBH", kind, 0, 0) + body, 2)


def advert(mac: str, source: str, target: str, to: str = ALL_NODES) -> bytes:
    """Return a neighbour advertisement: the target is at this MAC address, whatever was known."""
    link = b"\x02\x01" + bytes.fromhex(mac.replace(":", ""))
    body = struct.pack("!I", 0x20000000) + IPv6Address(target).packed + link
    return frame(mac, source, to, socket.IPPROTO_ICMPV6, icmp(source, to, NEIGHBOUR_ADVERT, body))


def solicit(mac: str, source: str, target: str) -> bytes:
    """Return a neighbour solicitation; from nobody, it says that the sender is about to take the target."""
    low = IPv6Address(target).packed[-3:]
    to = str(IPv6Address(IPv6Address("ff02::1:ff00:0").packed[:13] + low))
    body = bytes(4) + IPv6Address(target).packed
    return frame(mac, source, to, socket.IPPROTO_ICMPV6, icmp(source, to, NEIGHBOUR_SOLICIT, body))


def router(mac: str, source: str, prefix: str) -> bytes:
    """Return an advertisement of a router with this prefix, a /64 to make addresses of."""
    option = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 3600, 3600, 0) + IPv6Address(prefix).packed
    body = struct.pack("!BBHII", 64, 0, 1800, 0, 0) + option
    return frame(mac, source, ALL_NODES, socket.IPPROTO_ICMPV6, icmp(source, ALL_NODES, ROUTER_ADVERT, body))


def in_fragments(whole: bytes, options: int = 0) -> list[bytes]:
    """Return a packet in two fragments, the first with 8 bytes: of what it carries, or of so many headers before that,
    which say nothing."""
    head, payload = whole[:54], whole[54:]
    for _ in range(options):
        payload = bytes((head[20], 0, 1, 4, 0, 0, 0, 0)) + payload
        head = head[:20] + bytes((DESTINATION_OPTIONS,)) + head[21:]
    first, found = 8, []
    for offset, part, more in ((0, payload[:first], 1), (first, payload[first:], 0)):
        fragment = struct.pack("!BBHI", head[20], 0, offset | more, 7) + part
        length = struct.pack("!H", len(fragment))
        found.append(head[:18] + length + b"\x2c" + head[21:] + fragment)
    return found


def udp(mac: str, source: str, to: str, ports: tuple[int, int], data: bytes) -> bytes:
    """Return a frame with a datagram."""
    datagram = struct.pack("!HHHH", *ports, 8 + len(data), 0) + data
    return frame(mac, source, to, socket.IPPROTO_UDP, _with_sum(source, to, socket.IPPROTO_UDP, datagram, 6))


def leased(mac: str, device: str = "eth0", seconds: float = 5.0) -> str:
    """Ask for an address by DHCPv6 as the thread's machine, and return what the server told; empty where none did."""
    client = struct.pack("!HH", 3, 1) + bytes.fromhex(mac.replace(":", ""))
    asked = _option(CLIENT_ID, client) + _option(ELAPSED, b"\0\0")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        made.bind(("::", 546, 0, socket.if_nametoindex(device)))
        made.settimeout(seconds)
        to = (DHCP_SERVERS, 547, 0, socket.if_nametoindex(device))
        wanted = _option(IA_NA, struct.pack("!III", 1, 0, 0))
        try:
            made.sendto(bytes((SOLICIT, 0, 0, 1)) + asked + wanted, to)
            offered = _options(made.recv(1500)[4:])
            server = _option(SERVER_ID, offered[SERVER_ID])
            made.sendto(bytes((REQUEST, 0, 0, 2)) + asked + server + _option(IA_NA, offered[IA_NA]), to)
            told = _options(made.recv(1500)[4:])
        except TimeoutError:
            return ""
    address = _options(told.get(IA_NA, bytes(12))[12:]).get(IA_ADDRESS)
    return str(IPv6Address(address[:16])) if address else ""


def _option(number: int, data: bytes) -> bytes:
    return struct.pack("!HH", number, len(data)) + data


def _options(data: bytes) -> dict[int, bytes]:
    found = {}
    while data:
        number, length = struct.unpack("!HH", data[:4])
        found[number], data = data[4 : 4 + length], data[4 + length :]
    return found


def _with_sum(source: str, to: str, following: int, message: bytes, at: int) -> bytes:
    packed = IPv6Address(source).packed + IPv6Address(to).packed + struct.pack("!II", len(message), following)
    whole = packed + message + bytes(len(message) % 2)
    total = sum(struct.unpack(f"!{len(whole) // 2}H", whole))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return message[:at] + struct.pack("!H", ~total & 0xFFFF) + message[at + 2 :]
