"""A segment: a file with records of one partition, each a line of JSON, compressed with gzip (RFC 1952).

Why JSON and gzip: an archive may be read in ten years, perhaps by somebody who has `zcat` and no GoStack. The first
line names the partition; each line after it is a record with everything that the log had of it. Text is written as
text; bytes that are no UTF-8 are written as {"base64": ...}, so nothing is lost.

A segment that is still small is continued in a new file: its bytes, then another gzip member. A file that has got its
final name is never written again.
"""

import base64
import gzip
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from domain.core.messages import Record
from infra.archive.errors import Damaged

VERSION = 1
ENDING = ".jsonl.gz"
UNFINISHED = ".unfinished"
LEVEL = 6
BUFFER = 64 << 10


def name_of(topic: str, partition: int, first: int, last: int) -> str:
    """Return the name of a segment's file; within a partition, names sort as offsets do."""
    return f"{topic}-{partition}-{first:020}-{last:020}{ENDING}"


def encode(record: Record) -> bytes:
    """Encode a record as a line of JSON, without the newline."""
    return orjson.dumps(
        {
            "position": record.offset,
            "timestamp": record.timestamp,
            "key": _to_json(record.key),
            "headers": [[name, _to_json(value)] for name, value in record.headers],
            "value": _to_json(record.value),
        }
    )


def decode(topic: str, partition: int, line: bytes) -> Record:
    """Decode the record in a line. Raises ValueError, KeyError or TypeError where the line has no record."""
    found = orjson.loads(line)
    return Record(
        topic=topic,
        key=_from_json(found["key"]),
        value=_from_json(found["value"]),
        headers=tuple((name, _from_json(value)) for name, value in found["headers"]),
        partition=partition,
        offset=found["position"],
        timestamp=found["timestamp"],
    )


def fingerprint(record: Record) -> str:
    """Return the SHA-256 of a record with its offset, in hexadecimal."""
    return hashlib.sha256(encode(record)).hexdigest()


def _to_json(value: bytes | None) -> Any:
    # A header may have no value: Kafka has null there, whatever the types say.
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        return base64.b64decode(value["base64"], validate=True)
    return None if value is None else value.encode()


class _Counted:
    """A file that counts the bytes written to it, and computes their SHA-256."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.length = 0
        self.checksum = hashlib.sha256()

    def write(self, data: Any) -> int:
        self.length += len(data)
        self.checksum.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


class Writer:
    """A segment that is being written; it gets its final name when it is complete and on the disk."""

    def __init__(self, directory: Path, topic: str, partition: int, first: int, before: bytes = b"") -> None:
        """Begin a segment whose first record is at offset `first`.

        `before` is the contents of the segment that this one continues; empty for none. Raises OSError."""
        self.topic, self.partition, self.first = topic, partition, first
        self.records = 0
        self.taken = 0
        """Bytes of uncompressed lines."""
        self.last: Record | None = None
        self._directory = directory
        self._path = directory / f"{topic}-{partition}{UNFINISHED}"
        self._file = self._path.open("wb")
        self._counted = _Counted(self._file)
        self._counted.write(before)
        self._lines = bytearray()
        self._zip = gzip.GzipFile("", "wb", LEVEL, self._counted, 0)
        if not before:
            head = {"gostack": "segment", "version": VERSION, "topic": topic, "partition": partition}
            self._lines += orjson.dumps(head) + b"\n"

    def add(self, record: Record) -> None:
        """Add the next record to the segment."""
        line = encode(record)
        self._lines += line + b"\n"
        self.records += 1
        self.taken += len(line) + 1
        self.last = record
        if len(self._lines) >= BUFFER:
            self._zip.write(self._lines)
            self._lines.clear()

    def finish(self) -> tuple[str, int, str]:
        """Write the segment to disk under its final name; return the name, its size in bytes, and its SHA-256."""
        assert self.last is not None
        self._zip.write(self._lines)
        self._zip.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        name = name_of(self.topic, self.partition, self.first, self.last.offset)
        self._path.rename(self._directory / name)
        sync(self._directory)
        return name, self._counted.length, self._counted.checksum.hexdigest()

    def drop(self) -> None:
        """Give the segment up; its unfinished file is deleted by the next run."""
        self._zip.close()
        self._file.close()


def sync(directory: Path) -> None:
    """Write the entries of a directory to disk. Raises OSError."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def verified_bytes(path: Path, length: int, sha256: str) -> bytes:
    """Read a file of `length` bytes with this SHA-256. Raises Damaged where it is missing or differs."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise Damaged(path.name, "the file is missing") from None
    except OSError as error:
        raise Damaged(path.name, f"the file cannot be read: {error}") from error
    if len(data) != length:
        raise Damaged(path.name, f"the file has {len(data)} bytes, and {length} were written")
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise Damaged(path.name, f"the SHA-256 is {found}, and was {sha256} when the file was written")
    return data


def unpacked(name: str, data: bytes, topic: str, partition: int) -> Iterator[Record]:
    """Yield the records in the bytes of a segment. Raises Damaged."""
    try:
        lines = gzip.decompress(data).split(b"\n")
        head = orjson.loads(lines[0])
        if (head["version"], head["topic"], head["partition"]) != (VERSION, topic, partition):
            raise Damaged(name, f"the first line names another partition or version: {lines[0].decode()}")
        for line in lines[1:]:
            if line:
                yield decode(topic, partition, line)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(name, f"the file is no segment: {error!r}") from error
