"""The manifest of an archive: the span of each partition, and every segment with its checksum.

The manifest is written last, under another name, and renamed in one step: whatever happens to the process that writes,
the manifest names only complete files.

A span is what may be restored. Spans are extended when a run has ended, for all partitions together, so that with each
record its cause is in the spans. Segments may reach further: that is how far an interrupted run came.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from domain.core.messages import Record
from infra.archive.errors import Damaged
from infra.archive.segment import ENDING, sync, unpacked, verified_bytes
from infra.log.log import TopicPartition

NAME = "manifest.json"


class OffsetSpan(BaseModel):
    """The offsets of a partition that the archive has, from `begin` to before `end`; not each has a record."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    begin: int = Field(ge=0)
    end: int = Field(ge=0)


class Segment(BaseModel):
    """A file of records of one partition, with the offsets of the first and the last one, and its size in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    topic: str
    partition: int = Field(ge=0)
    first: int = Field(ge=0)
    last: int = Field(ge=0)
    records: int = Field(ge=1)
    bytes: int = Field(ge=1)
    sha256: str
    fingerprint: str
    """Fingerprint of the last record, by which a later run recognizes the log."""

    @property
    def of(self) -> TopicPartition:
        """The partition that the records are of."""
        return TopicPartition(self.topic, self.partition)

    def read(self, directory: Path) -> Iterator[Record]:
        """Yield the records of the segment. Raises Damaged."""
        return unpacked(
            self.file, verified_bytes(directory / self.file, self.bytes, self.sha256), self.topic, self.partition
        )


class Contents(BaseModel):
    """The contents of the manifest as they are written."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    spans: dict[str, list[OffsetSpan]] = {}
    """For each topic, the span of each partition, in order."""
    segments: list[Segment] = []


class Manifest:
    """The manifest of the archive in a directory."""

    def __init__(self, directory: Path, contents: Contents | None = None) -> None:
        self.directory = directory
        contents = contents or Contents()
        self.spans = {
            TopicPartition(topic, number): span
            for topic, spans in contents.spans.items()
            for number, span in enumerate(spans)
        }
        self.segments: dict[TopicPartition, list[Segment]] = defaultdict(list)
        for segment in contents.segments:
            self.segments[segment.of].append(segment)

    def reached(self, partition: TopicPartition) -> int:
        """Return the next offset of a partition to archive."""
        end = self.spans[partition].end
        segments = self.segments.get(partition)
        return max(end, segments[-1].last + 1) if segments else end

    def counts(self) -> Mapping[str, int]:
        """Return how many partitions each topic in the archive has."""
        counts: dict[str, int] = defaultdict(int)
        for topic, _ in self.spans:
            counts[topic] += 1
        return counts

    def save(self) -> None:
        """Write the manifest to disk, in the place of the one before. Raises OSError."""
        spans: dict[str, list[OffsetSpan]] = defaultdict(list)
        for partition in sorted(self.spans):
            spans[partition.topic].append(self.spans[partition])
        segments = [segment for partition in sorted(self.segments) for segment in self.segments[partition]]
        written = Contents(spans=spans, segments=segments).model_dump()
        text = orjson.dumps({"sha256": _checksum(written), "contents": written}, option=orjson.OPT_INDENT_2)
        fresh = self.directory / f"{NAME}.unfinished"
        with fresh.open("wb") as file:
            file.write(text + b"\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(self.directory / NAME)
        sync(self.directory)

    def problems(self) -> Iterator[Damaged]:
        """Yield an exception for every segment that is missing or differs from what was written."""
        for segments in self.segments.values():
            for segment in segments:
                try:
                    verified_bytes(self.directory / segment.file, segment.bytes, segment.sha256)
                except Damaged as damaged:
                    yield damaged


def load(directory: Path) -> Manifest:
    """Read the manifest of an archive. Raises Damaged."""
    try:
        found = orjson.loads((directory / NAME).read_bytes())
        contents = found["contents"]
        if _checksum(contents) != found["sha256"]:
            raise Damaged(NAME, "the SHA-256 of its contents is not the one that it names")
        manifest = Manifest(directory, Contents.model_validate(contents))
    except FileNotFoundError:
        raise Damaged(NAME, f"the file is missing: {directory} holds no archive") from None
    except (OSError, KeyError, TypeError) as error:
        raise Damaged(NAME, f"the file cannot be read: {error!r}") from error
    except ValidationError as error:
        raise Damaged(NAME, f"this release cannot read the manifest: {error}") from error
    except orjson.JSONDecodeError as error:
        raise Damaged(NAME, f"the file is no JSON: {error}") from error
    for partition, segments in manifest.segments.items():
        if partition not in manifest.spans:
            raise Damaged(NAME, f"{partition.topic}:{partition.partition} has segments, and no span")
        for before, after in pairwise(segments):
            if before.last >= after.first:
                raise Damaged(NAME, f"{after.file} begins before {before.file} ends")
    return manifest


def opened(directory: Path) -> Manifest:
    """Read the manifest of an archive, or create that of a new one where the directory has no segment.

    Raises Damaged."""
    if not (directory / NAME).exists():
        if found := sorted(directory.glob(f"*{ENDING}")):
            raise Damaged(NAME, f"the file is missing, and there are segments: {found[0].name}")
        Manifest(directory).save()
    return load(directory)


def _checksum(contents: Any) -> str:
    return hashlib.sha256(orjson.dumps(contents, option=orjson.OPT_SORT_KEYS)).hexdigest()
