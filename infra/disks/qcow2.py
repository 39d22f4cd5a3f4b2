"""The qcow2 format: whether a file stands alone, can be read, and is whole, by its header and tables.

Why read here: an image comes from a user, and a qcow2 header may name other files of the host as its backing or data
file. Whoever opens such an image would hand those files to the guest. So it is looked at before QEMU opens it. The
layout is QEMU's docs/interop/qcow2.txt.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAGIC = b"QFI\xfb"
_HEADER = struct.Struct(">4sIQIIQIIQQIIQ")
_FEATURES = struct.Struct(">QQQII")
"""Feature bits (incompatible, compatible, autoclear), refcount order and length of the header, of version 3."""
_SHORTEST = _HEADER.size
_CORRUPT = 1 << 1
_EXTERNAL_DATA = 1 << 2
_KNOWN = 0b11111
"""Incompatible features that QEMU defines: dirty, corrupt, external data file, compression type, extended L2."""
_EXTENDED_L2 = 1 << 4
_OFFSET = 0x00FF_FFFF_FFFF_FE00
"""Bits of an entry of L1 or L2 that are an offset in the file."""
_COMPRESSED = 1 << 62
CLUSTER_BITS = range(9, 22)
"""Sizes of a cluster that QEMU can read, 512 bytes to 2 MiB, as powers of two."""
MOST_L1 = 1 << 22
"""Entries of the L1 table that QEMU reads at most."""


class Qcow2Error(Exception):
    """The file is a qcow2 file, and not one that may be used; the text is a clause that says why."""


@dataclass(frozen=True)
class Qcow2Header:
    """The part of a header that matters here."""

    version: int
    virtual_size: int
    """Size in bytes as the guest sees it."""
    backing_offset: int
    """Offset of the name of the backing file; 0: there is none."""
    backing_length: int
    cluster_bits: int
    encryption: int
    l1_entries: int
    l1_offset: int
    refcount_offset: int
    refcount_clusters: int
    incompatible: int
    """Feature bits of which a reader has to know each."""

    @property
    def points_elsewhere(self) -> bool:
        """Whether the file has a backing file or an external data file."""
        return bool(self.backing_offset) or bool(self.incompatible & _EXTERNAL_DATA)

    @property
    def cluster(self) -> int:
        """Bytes of a cluster, the unit in which the file is allocated."""
        return 1 << self.cluster_bits


def read_header(path: Path) -> Qcow2Header | None:
    """Return the header of a file; None where it is no qcow2 file. Raises OSError."""
    with path.open("rb") as file:
        return _header(file)


def backing_file(path: Path) -> str:
    """Return the name of the file's backing file; empty where it has none, or is no qcow2 file. Raises OSError."""
    with path.open("rb") as file:
        header = _header(file)
        if header is None or not header.backing_offset:
            return ""
        file.seek(header.backing_offset)
        return file.read(min(header.backing_length, 1023)).decode(errors="surrogateescape")


def require_standalone(path: Path, most: int) -> Qcow2Header:
    """Return the header of a file that refers to no other, is whole, and of a disk of at most `most` bytes.

    Raises Qcow2Error, OSError.
    """
    with path.open("rb") as file:
        header = _header(file)
        if header is None:
            raise Qcow2Error("its header is not whole")
        _require_readable(header, most)
        size = path.stat().st_size
        _require_tables(file, header, size)
    return header


def _header(file: BinaryIO) -> Qcow2Header | None:
    head = file.read(_HEADER.size + _FEATURES.size)
    if len(head) < _SHORTEST or not head.startswith(MAGIC):
        return None
    _, version, backing, length, bits, size, crypt, entries, l1, refcounts, clusters, _, _ = _HEADER.unpack_from(head)
    features = 0
    if version >= 3 and len(head) == _HEADER.size + _FEATURES.size:
        features = _FEATURES.unpack_from(head, _HEADER.size)[0]
    return Qcow2Header(version, size, backing, length, bits, crypt, entries, l1, refcounts, clusters, features)


def _require_readable(header: Qcow2Header, most: int) -> None:
    if header.version not in (2, 3):
        raise Qcow2Error(f"it is of version {header.version}, and 2 and 3 can be read")
    if header.points_elsewhere:
        raise Qcow2Error("it refers to another file")
    if unknown := header.incompatible & ~_KNOWN:
        raise Qcow2Error(f"it needs features that are not known (bits {unknown:#x})")
    if header.incompatible & _CORRUPT:
        raise Qcow2Error("it is marked as corrupt")
    if header.encryption:
        raise Qcow2Error("it is encrypted")
    if header.cluster_bits not in CLUSTER_BITS:
        raise Qcow2Error(f"its clusters have 2^{header.cluster_bits} bytes, and 2^9 to 2^21 can be read")
    if not 0 < header.virtual_size <= most:
        raise Qcow2Error(f"it is a disk of {header.virtual_size} bytes, and 1 to {most} are allowed")


def _require_tables(file: BinaryIO, header: Qcow2Header, size: int) -> None:
    """Check that all that the tables point at is in the file. Of what QEMU leaves out at the end, unwritten bytes of
    the last cluster, nothing is asked."""
    per_l2 = header.cluster // (16 if header.incompatible & _EXTENDED_L2 else 8)
    needed = -(-header.virtual_size // (header.cluster * per_l2))
    if not needed <= header.l1_entries <= MOST_L1:
        raise Qcow2Error(f"its first table has {header.l1_entries} entries, and the disk needs {needed}")
    tables = (
        (header.l1_offset, header.l1_entries * 8),
        (header.refcount_offset, header.refcount_clusters * header.cluster),
    )
    for offset, length in tables:
        if not offset or offset % header.cluster or offset + length > size:
            raise Qcow2Error("it is cut short, or damaged: a table is not in the file")
    file.seek(header.l1_offset)
    # Each once: what many entries point at would be read as often.
    second = {entry & _OFFSET for entry in _entries(file, header.l1_entries * 8)} - {0}
    for offset in sorted(second):
        if offset % header.cluster or offset + header.cluster > size:
            raise Qcow2Error("it is cut short, or damaged: a table is not in the file")
        file.seek(offset)
        entries = _entries(file, header.cluster, 2 if header.incompatible & _EXTENDED_L2 else 1)
        if any(_at(entry, header) >= size for entry in entries if entry):
            raise Qcow2Error("it is cut short, or damaged: data is not in the file")


def _entries(file: BinaryIO, length: int, stride: int = 1) -> Iterator[int]:
    """Yield every `stride`th entry of a table, of 8 bytes each."""
    read = file.read(length)
    yield from struct.unpack(f">{len(read) // 8}Q", read)[::stride]


def _at(entry: int, header: Qcow2Header) -> int:
    """Return the offset of the data that an entry of L2 points at; 0 where that is no data."""
    if entry & _COMPRESSED:
        return entry & ((1 << (62 - (header.cluster_bits - 8))) - 1)
    return entry & _OFFSET
