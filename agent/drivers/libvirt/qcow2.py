"""The header: everything that matters in the first bytes of a qcow2 file.

Why read here: an image comes from a user, and a qcow2 header may name other files of the host as its backing or data
file. Whoever opens such an image would hand those files to the guest. The layout is QEMU's docs/interop/qcow2.txt.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

from agent.drivers import host_command

MAGIC = b"QFI\xfb"
_FIXED = struct.Struct(">4sIQIIQ")  # magic, version, backing offset, backing size, cluster bits, virtual size
_FEATURES = struct.Struct(">Q")
_FEATURES_AT = 72
_EXTERNAL_DATA = 1 << 2


@dataclass(frozen=True)
class Qcow2Header:
    """The part of a header that matters here."""

    virtual_size: int
    """Size in bytes as the guest sees it."""
    points_elsewhere: bool
    """Whether the file has a backing file or an external data file."""


def read_header(path: Path) -> Qcow2Header | None:
    """The header of a file; None where it is no qcow2 file. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(_FEATURES_AT + _FEATURES.size)
    if len(head) < _FEATURES_AT or not head.startswith(MAGIC):
        return None
    _, version, backing_offset, _, _, virtual_size = _FIXED.unpack_from(head)
    features = 0
    if version >= 3 and len(head) >= _FEATURES_AT + _FEATURES.size:
        features = _FEATURES.unpack_from(head, _FEATURES_AT)[0]
    return Qcow2Header(virtual_size, bool(backing_offset) or bool(features & _EXTERNAL_DATA))


def grow(path: Path, size: int) -> None:
    """Have the disk in a qcow2 file, which nothing has open, be `size` bytes large; one that is as large stays.

    Raises OSError, and DriverError "host-command-failed".
    """
    header = read_header(path)
    if header is None or header.virtual_size < size:
        # The format is said: what a guest wrote into its disk must not pass for another one.
        host_command.run("qemu-img", "resize", "-q", "-f", "qcow2", str(path), str(size))
