"""What is in an archive: each partition's span, and every segment with its checksum.

It is written last, under another name first, and put in the place of the one before in one step: whatever happens to
the process that writes, the manifest that is there names only files that are whole.

A span is what may be restored. It is moved on when a run has ended, for all partitions together, so that nothing is in
the spans whose cause is not. Segments may reach further: that is how far a run came that was cut off.
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


class Span(BaseModel):
    """The positions of a partition that the archive has, from `begin` to before `end`; between records may be gaps."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    begin: int = Field(ge=0)
    end: int = Field(ge=0)


class Segment(BaseModel):
    """A file."""

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
    """Of its last record: a log that goes on from here has it too."""

    @property
    def of(self) -> TopicPartition:
        """Where its records lay."""
        return TopicPartition(self.topic, self.partition)

    def read(self, directory: Path) -> Iterator[Record]:
        """Its records. Raises Damaged."""
        return unpacked(
            self.file, verified_bytes(directory / self.file, self.bytes, self.sha256), self.topic, self.partition
        )


class Contents(BaseModel):
    """What the manifest says."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    spans: dict[str, list[Span]] = {}
    """By topic, a span a partition."""
    segments: list[Segment] = []


class Manifest:
    """The manifest of a directory."""

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
        """The next position to archive."""
        end = self.spans[partition].end
        segments = self.segments.get(partition)
        return max(end, segments[-1].last + 1) if segments else end

    def counts(self) -> Mapping[str, int]:
        """How many partitions each topic has."""
        counts: dict[str, int] = defaultdict(int)
        for topic, _ in self.spans:
            counts[topic] += 1
        return counts

    def save(self) -> None:
        """Put it in its place."""
        spans: dict[str, list[Span]] = defaultdict(list)
        for partition in sorted(self.spans):
            spans[partition.topic].append(self.spans[partition])
        segments = [segment for partition in sorted(self.segments) for segment in self.segments[partition]]
        said = Contents(spans=spans, segments=segments).model_dump()
        text = orjson.dumps({"sha256": _checksum(said), "contents": said}, option=orjson.OPT_INDENT_2)
        fresh = self.directory / f"{NAME}.unfinished"
        with fresh.open("wb") as file:
            file.write(text + b"\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(self.directory / NAME)
        sync(self.directory)

    def problems(self) -> Iterator[Damaged]:
        """Every file that is missing or is not as it was written."""
        for segments in self.segments.values():
            for segment in segments:
                try:
                    verified_bytes(self.directory / segment.file, segment.bytes, segment.sha256)
                except Damaged as damaged:
                    yield damaged


def load(directory: Path) -> Manifest:
    """The manifest of an archive. Raises Damaged."""
    try:
        found = orjson.loads((directory / NAME).read_bytes())
        said = found["contents"]
        if _checksum(said) != found["sha256"]:
            raise Damaged(NAME, "its SHA-256 is not the one that it names")
        contents = Contents.model_validate(said)
    except FileNotFoundError:
        raise Damaged(NAME, f"it is missing: {directory} holds no archive") from None
    except (OSError, KeyError, TypeError) as error:
        raise Damaged(NAME, f"it cannot be read: {error!r}") from error
    except ValidationError as error:
        raise Damaged(NAME, f"it is no manifest that this release reads: {error}") from error
    except orjson.JSONDecodeError as error:
        raise Damaged(NAME, f"it is no JSON: {error}") from error
    manifest = Manifest(directory, contents)
    for partition, segments in manifest.segments.items():
        if partition not in manifest.spans:
            raise Damaged(NAME, f"it has segments of {partition.topic}:{partition.partition}, and no span")
        for before, after in pairwise(segments):
            if before.last >= after.first:
                raise Damaged(NAME, f"{after.file} begins before {before.file} ends")
    return manifest


def opened(directory: Path) -> Manifest:
    """The manifest to go on with; a directory without any segment gets one. Raises Damaged."""
    if not (directory / NAME).exists():
        if found := sorted(directory.glob(f"*{ENDING}")):
            raise Damaged(NAME, f"it is missing, and there are segments: {found[0].name}")
        Manifest(directory).save()
    return load(directory)


def _checksum(said: Any) -> str:
    return hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()
