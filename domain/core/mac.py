"""MAC addresses: which ones users may choose for their ports."""

import re

from domain.core.errors import Invalid

GATEWAY_OCTET = 0x56
"""First octet of every gateway's MAC address: locally administered (IEEE 802), and not 0x52, which ports have."""
MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}")


def usual(text: str, field: str) -> str:
    """Return a MAC address in its usual form. Raises Invalid, which names the field, where no port may have it."""
    mac = text.lower()
    if not MAC.fullmatch(mac):
        raise Invalid(field=field, value=text, allowed="a MAC address such as 52:54:00:12:34:56 is needed")
    first = int(mac[:2], 16)
    if first & 1:
        raise Invalid(field=field, value=text, allowed="it must be the address of one interface, not of a group")
    if first == GATEWAY_OCTET or mac == "00:00:00:00:00:00":
        raise Invalid(field=field, value=text, allowed=f"{GATEWAY_OCTET:02x}:… are the gateways' and 0 is nobody's")
    return mac
