"""A position in all partitions of gostack.events as one short word: the id of an event in the stream.

Why a vector: order holds within a partition only, so where a follower is takes one offset a partition. LEB128 and
base64 keep twelve of them under a hundred characters. It says what was sent before, so the same event may stand under
another word on another connection: the event's own id is what tells two events apart.
"""

import base64
import binascii
from collections.abc import Sequence

LONGEST = 4096


def encode(offsets: Sequence[int]) -> str:
    """Return offsets, by partition, as a word."""
    packed = bytearray()
    for offset in offsets:
        rest = offset
        while rest > 0x7F:
            packed.append(rest & 0x7F | 0x80)
            rest >>= 7
        packed.append(rest)
    return base64.urlsafe_b64encode(bytes(packed)).decode().rstrip("=")


def decode(word: str) -> list[int]:
    """Return the offsets in a word. Raises ValueError if encode() cannot have made it."""
    if len(word) > LONGEST:
        raise ValueError("too long")
    try:
        packed = base64.b64decode(word + "=" * (-len(word) % 4), altchars=b"-_", validate=True)
    except binascii.Error as wrong:
        raise ValueError(str(wrong)) from wrong
    offsets = []
    value = shift = 0
    for byte in packed:
        value |= (byte & 0x7F) << shift
        shift += 7
        if shift > 70:
            raise ValueError("an offset is too large")
        if not byte & 0x80:
            offsets.append(value)
            value = shift = 0
    if shift:
        raise ValueError("the last offset is cut off")
    return offsets
