"""A segment: a file with records of one partition, each a line of JSON, compressed with gzip (RFC 1952).

Why JSON and gzip: what is archived is read in ten years, perhaps by somebody who has `zcat` and no GoStack. The first
line says which partition it is; each line after it is a record with all that the log knew of it. Text stands as text;
bytes that are no UTF-8 stand as {"base64": ...}, so nothing is lost.

A segment that is still small is gone on with: its bytes, then another gzip member, under a new name. A file that was
given its name is never written again.
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
    """The file's name; within a partition the order of names is the order of positions."""
    return f"{topic}-{partition}-{first:020}-{last:020}{ENDING}"


def encode(record: Record) -> bytes:
    """A record as a line."""
    return orjson.dumps(
        {
            "position": record.offset,
            "timestamp": record.timestamp,
            "key": _told(record.key),
            "headers": [[name, _told(value)] for name, value in record.headers],
            "value": _told(record.value),
        }
    )


def decode(topic: str, partition: int, line: bytes) -> Record:
    """The record of a line. Raises ValueError, KeyError or TypeError for what is none."""
    found = orjson.loads(line)
    return Record(
        topic=topic,
        key=_meant(found["key"]),
        value=_meant(found["value"]),
        headers=tuple((name, _meant(value)) for name, value in found["headers"]),
        partition=partition,
        offset=found["position"],
        timestamp=found["timestamp"],
    )


def fingerprint(record: Record) -> str:
    """SHA-256 of what a record says and where it lies."""
    return hashlib.sha256(encode(record)).hexdigest()


def _told(value: bytes | None) -> Any:
    # A header may have no value: Kafka has null there, whatever the types say.
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _meant(told: Any) -> Any:
    if isinstance(told, dict):
        return base64.b64decode(told["base64"], validate=True)
    return None if told is None else told.encode()


class _Counted:
    """A file that knows how long it is, and its checksum."""

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
    """A segment in the making: it has its name, and is on the disk, when it is finished, and not before."""

    def __init__(self, directory: Path, topic: str, partition: int, first: int, before: bytes = b"") -> None:
        """`first` is the position of its first record; `before`: the bytes of the segment that it goes on with."""
        self.topic, self.partition, self.first = topic, partition, first
        self.records = 0
        self.taken = 0
        """Bytes of lines."""
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
        """Take the next record."""
        line = encode(record)
        self._lines += line + b"\n"
        self.records += 1
        self.taken += len(line) + 1
        self.last = record
        if len(self._lines) >= BUFFER:
            self._zip.write(self._lines)
            self._lines.clear()

    def finish(self) -> tuple[str, int, str]:
        """Put it on the disk under its name; that, its bytes, and its SHA-256."""
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
        """Leave it unfinished."""
        self._zip.close()
        self._file.close()


def sync(directory: Path) -> None:
    """Put the names in a directory on the disk."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def verified_bytes(path: Path, length: int, sha256: str) -> bytes:
    """A file's bytes, which are those that were written. Raises Damaged."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise Damaged(path.name, "it is missing") from None
    except OSError as error:
        raise Damaged(path.name, f"it cannot be read: {error}") from error
    if len(data) != length:
        raise Damaged(path.name, f"it has {len(data)} bytes, {length} were written")
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise Damaged(path.name, f"its SHA-256 is {found}, of what was written it is {sha256}")
    return data


def unpacked(name: str, data: bytes, topic: str, partition: int) -> Iterator[Record]:
    """The records in a segment's bytes. Raises Damaged."""
    try:
        lines = gzip.decompress(data).split(b"\n")
        head = orjson.loads(lines[0])
        if (head["version"], head["topic"], head["partition"]) != (VERSION, topic, partition):
            raise Damaged(name, f"it says that it is {lines[0].decode()}")
        for line in lines[1:]:
            if line:
                yield decode(topic, partition, line)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(name, f"it is no segment: {error!r}") from error
