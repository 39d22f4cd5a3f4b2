"""Disks in formats that no host runs, looked at before qemu-img converts them.

Why: each of these formats can name other files, as VMDK's descriptor does with its extents and any with a parent, and
whoever converts such a file would put those into the result.
"""

import re
import struct
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from infra.disks.formats import format_of

SECTOR = 512
LONGEST_DESCRIPTOR = 1 << 20
SPARSE_KINDS = frozenset({"monolithicsparse", "streamoptimized"})
"""Kinds of VMDK that are one file."""
EXTENT = re.compile(r'^(RW|RDONLY|NOACCESS)\s+(\d+)\s+(\w+)(?:\s+"([^"]*)")?\s*(\d*)\s*$', re.IGNORECASE)
NO_PARENT = "ffffffff"
AT_END = (1 << 64) - 1
"""Offset in the header of a streamed VMDK: the true header is at the end of the file."""
FIXED, DYNAMIC = 2, 3
"""Kinds of VHD that stand alone."""


class ForeignError(Exception):
    """The file is not in the format, or not one that may be converted; the text is a clause that says why."""


def require_convertible(path: Path, kind: str, most: int) -> None:
    """Check that a file has this format, refers to no other file, and is a disk of at most `most` bytes.

    Raises ForeignError, OSError.
    """
    found = format_of(path)
    if found != kind:
        raise ForeignError(f"it is said to be {kind}, and it is {found}")
    try:
        size = CHECKS[kind](path)
    except struct.error as short:
        raise ForeignError(f"it is a {kind} image, and its header is not whole") from short
    if not 0 < size <= most:
        raise ForeignError(f"it is a disk of {size} bytes, and 1 to {most} are allowed")


def _vmdk(path: Path) -> int:
    """Check a VMDK, and return the size of its disk in bytes: one sparse file, whose descriptor names that alone."""
    with path.open("rb") as file:
        head = file.read(SECTOR)
        if not head.startswith(b"KDMV"):
            raise ForeignError("it is a vmdk image that refers to other files, or of an old version")
        capacity, _, descriptor_at, descriptor_sectors = struct.unpack_from("<QQQQ", head, 12)
        directory_at = struct.unpack_from("<Q", head, 56)[0]
        if not capacity or not descriptor_at or not descriptor_sectors:
            raise ForeignError("it is a vmdk image whose descriptor is not in its header's place")
        if directory_at == AT_END:
            # QEMU takes this one, three sectors before the end, and its capacity and descriptor have to be the same.
            file.seek(-3 * SECTOR + SECTOR, 2)
            footer = file.read(SECTOR)
            if not footer.startswith(b"KDMV") or footer[4:56] != head[4:56]:
                raise ForeignError("it is a vmdk image whose two headers differ")
        file.seek(descriptor_at * SECTOR)
        text = file.read(min(descriptor_sectors * SECTOR, LONGEST_DESCRIPTOR))
    return _described(text.split(b"\0", 1)[0].decode("latin-1"), int(capacity))


def _described(descriptor: str, capacity: int) -> int:
    fields = {}
    extents = []
    for line in descriptor.splitlines():
        if found := EXTENT.match(line.strip()):
            extents.append(found)
        elif "=" in line:
            name, _, value = line.partition("=")
            fields[name.strip().lower()] = value.strip().strip('"')
    if fields.get("createtype", "").lower() not in SPARSE_KINDS:
        raise ForeignError("it is a vmdk image of several files: monolithicSparse and streamOptimized can be converted")
    if fields.get("parentcid", NO_PARENT).lower() != NO_PARENT or "parentfilenamehint" in fields:
        raise ForeignError("it is a vmdk image that refers to another file")
    if len(extents) != 1 or extents[0][3].upper() != "SPARSE" or "/" in (extents[0][4] or ""):
        raise ForeignError("it is a vmdk image that refers to another file")
    return capacity * SECTOR


def _vdi(path: Path) -> int:
    with path.open("rb") as file:
        head = file.read(SECTOR)
    kind = struct.unpack_from("<I", head, 0x4C)[0]
    if kind not in (1, 2) or any(head[0x1A8:0x1C8]):
        raise ForeignError("it is a vdi image that refers to another file")
    return int(struct.unpack_from("<Q", head, 0x170)[0])


def _vhd(path: Path) -> int:
    with path.open("rb") as file:
        file.seek(-SECTOR, 2)
        footer = file.read(SECTOR)
    if not footer.startswith(b"conectix"):
        raise ForeignError("it is a vhd image that is cut short")
    if struct.unpack_from(">I", footer, 60)[0] not in (FIXED, DYNAMIC):
        raise ForeignError("it is a vhd image that refers to another file")
    return int(struct.unpack_from(">Q", footer, 48)[0])


REGIONS_AT = 192 << 10
METADATA = UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e").bytes_le
VIRTUAL_SIZE = UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8").bytes_le
PARAMETERS = UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b").bytes_le
"""The region, and the items in it, by the identities that the format gives them."""
HAS_PARENT = 1 << 1
MOST_ENTRIES = 2047


def _vhdx(path: Path) -> int:
    with path.open("rb") as file:
        file.seek(REGIONS_AT)
        table = file.read(64 << 10)
        at = _entry(table, b"regi", METADATA, 16, 8)
        file.seek(struct.unpack_from("<Q", table, at + 16)[0])
        metadata = file.read(1 << 20)
    size_at = _item(metadata, VIRTUAL_SIZE)
    flags = struct.unpack_from("<II", metadata, _item(metadata, PARAMETERS))[1]
    if flags & HAS_PARENT:
        raise ForeignError("it is a vhdx image that refers to another file")
    return int(struct.unpack_from("<Q", metadata, size_at)[0])


def _entry(table: bytes, signature: bytes, guid: bytes, first: int, count_at: int) -> int:
    """Return where a table has the entry of this GUID: entries of 32 bytes from `first` on, at most 2047 of them."""
    if not table.startswith(signature):
        raise ForeignError("it is a vhdx image whose tables are not whole")
    count = struct.unpack_from("<H", table, count_at)[0]
    for number in range(min(count, MOST_ENTRIES)):
        at = first + 32 * number
        if table[at : at + 16] == guid:
            return at
    raise ForeignError("it is a vhdx image whose tables are not whole")


def _item(metadata: bytes, guid: bytes) -> int:
    at = _entry(metadata, b"metadata", guid, 32, 10)
    return int(struct.unpack_from("<I", metadata, at + 16)[0])


CHECKS: dict[str, Callable[[Path], int]] = {"vmdk": _vmdk, "vdi": _vdi, "vhd": _vhd, "vhdx": _vhdx}
