"""The format of a file, by its content: a name never says it, and neither does whoever uploads the file.

Why magic numbers in a table: each format that QEMU or an archiver would read is known by a few bytes at one place, and
what is called raw must be none of them, since a program that looks for itself would take it for that.
"""

import re
from pathlib import Path
from typing import BinaryIO

from infra.disks import qcow2

RUN_AS_RAW = frozenset({"raw", "iso"})
"""Formats whose bytes are a disk as they are."""
HEAD = 64 << 10
"""Bytes at the beginning of a file that are looked at."""
TAIL = 512
TEXT = re.compile(rb"[\t\n\f\r\x1b\x20-\x7e\x80-\xff]+")
"""Bytes of text in ASCII, or a character set that extends it."""
LOOKED_AT = 1024
"""Bytes from which text is told."""

MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, qcow2.MAGIC, "qcow2"),
    (0, b"QED\0", "qed"),
    (0, b"KDMV", "vmdk"),
    (0, b"COWD", "vmdk"),
    (0, b"conectix", "vhd"),
    (0, b"cxsparse", "vhd"),
    (0, b"vhdxfile", "vhdx"),
    (0x40, b"\x7f\x10\xda\xbe", "vdi"),
    (0, b"WithoutFreeSpace", "parallels"),
    (0, b"WithouFreSpacExt", "parallels"),
    (0, b"Bochs Virtual HD Image", "bochs"),
    (0, b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop", "cloop"),
    (0, b"LUKS\xba\xbe", "luks"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"BZh", "bzip2"),
    (0, b"\x04\x22\x4d\x18", "lz4"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"Rar!\x1a\x07", "rar"),
    (0, b"\x7fELF", "elf"),
    (257, b"ustar", "tar"),
    (0x8001, b"CD001", "iso"),
)
"""Offset, bytes there, and the format that has them."""
AT_END: tuple[tuple[bytes, str], ...] = ((b"conectix", "vhd"), (b"koly", "dmg"))
"""First bytes of the last 512, and the format that has them: a VHD of fixed size begins as a raw disk does."""


def format_of(path: Path) -> str:
    """Return the name of the format that a file has; "raw" for a disk without any. Raises OSError."""
    with path.open("rb") as file:
        head, tail = _ends(file)
    for offset, magic, name in MAGIC:
        if head.startswith(magic, offset):
            return name
    for magic, name in AT_END:
        if tail.startswith(magic):
            return name
    if head.lstrip()[:21].lower() == b"# disk descriptorfile":
        return "vmdk"
    start = head[:LOOKED_AT]
    if start.lstrip(b"\xef\xbb\xbf\t\n\r ").lower().startswith((b"<!doctype html", b"<html")):
        return "html"
    return "text" if TEXT.fullmatch(start) else "raw"


def _ends(file: BinaryIO) -> tuple[bytes, bytes]:
    head = file.read(HEAD)
    size = file.seek(0, 2)
    file.seek(max(0, size - TAIL))
    return head, file.read(TAIL)
