"""Restoring an archive into an empty log: the same records at the same offsets.

Why the same offsets: PostgreSQL stores them as positions, events name their causes by them, and users name moments and
resume an event stream by them. Where the archived log had no record (retention removed it, or a transaction took the
offset) a filler is written, which every reader passes over; fillers at the beginning of a partition are deleted
afterwards, so that it begins where it began.

An interrupted restore can be continued: a log that holds the first records of the archive, and nothing else, is filled.
"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from domain.core.messages import FILLER_HEADERS, Record
from infra.archive.archive import Progress
from infra.archive.errors import CannotRestore, NotEmpty
from infra.archive.lock import archive_lock
from infra.archive.manifest import Manifest, OffsetSpan, load
from infra.log.log import Log, LogUnavailable, Reader, TopicPartition
from infra.log.topics import TOPICS
from infra.process import failpoints

CHUNK_RECORDS = 2000
CHUNK_BYTES = 4 << 20
GAP = 100_000
"""Offsets that are filled at a time."""
FETCH = 1000
WAIT = 1.0
TRIES = 30
"""Fetches of WAIT seconds in a row that may return nothing from a partition that has more records."""


@dataclass
class RestoreResult:
    """The result of a restore, in records."""

    records: int = 0
    fillers: int = 0
    found: int = 0
    """Records that an earlier, interrupted run had restored."""


async def restore(log: Log, directory: Path, progress: Progress = lambda line: None) -> RestoreResult:
    """Fill an empty log from the archive in `directory`. Every file is checked before anything is written.

    `progress` is called with a line of text for each topic. Raises Damaged, NotEmpty, CannotRestore, ArchiveBusy,
    LogUnavailable, OSError.
    """
    with archive_lock(directory):
        manifest = load(directory)
        for damaged in manifest.problems():
            raise damaged
        _must_fit(manifest)
        done = RestoreResult()
        bounds = await log.bounds(list(TOPICS))
        for each, (first, end) in bounds.items():
            if end:
                await _must_begin(log, manifest, each, first, end)
                done.found += end - first
        await log.keep_times(True)
        for topic in manifest.counts():
            before = done.records
            for each, (_, end) in bounds.items():
                if each.topic == topic and end < manifest.spans[each].end:
                    await _fill(log, manifest, each, end, done)
            if done.records > before:
                progress(f"{topic}: {done.records - before} records")
        await log.keep_times(False)
        await _trim_beginnings(log, manifest)
        return done


def _must_fit(manifest: Manifest) -> None:
    if not any(span.end for span in manifest.spans.values()):
        raise CannotRestore("no run of `gostack archive` was completed here: there is nothing consistent to restore")
    for topic, count in manifest.counts().items():
        declared = next((each.partitions for each in TOPICS.values() if each.topic == topic), None)
        if declared is None:
            raise CannotRestore(f"this release has no topic {topic}")
        if declared != count:
            raise CannotRestore(f"{topic} has {declared} partitions, {count} in the archive")


async def _must_begin(log: Log, manifest: Manifest, each: TopicPartition, first: int, end: int) -> None:
    """Check that a partition of the log holds the first records of the archive. Raises NotEmpty."""
    refused = NotEmpty(
        f"{each.topic} is not empty: partition {each.partition} has records at offsets {first} to {end - 1}, which are "
        "not the first ones of this archive"
    )
    span = manifest.spans.get(each, OffsetSpan(begin=0, end=0))
    if end > span.end:
        raise refused
    if first == end:
        return
    reader = await log.reader({each: first})
    wanted = _positions(manifest, each, first)
    try:
        async for record in _records(reader, end):
            if record != next(wanted):
                raise refused
    finally:
        await reader.close()


async def _records(reader: Reader, end: int) -> AsyncIterator[Record]:
    """Yield the records before `end` of the one partition that the reader reads. Raises LogUnavailable."""
    silent = 0
    at = -1
    while at < end:
        found = await reader.fetch(FETCH, WAIT)
        silent = 0 if found else silent + 1
        if silent == TRIES:
            raise LogUnavailable(f"no record came within {WAIT * TRIES:g} s, at offset {at} of {end}")
        for record in found:
            at = record.offset + 1
            if record.offset < end:
                yield record


@dataclass(frozen=True)
class _Gap:
    """Offsets at which the archived log had no record, from `first` to before `end`."""

    first: int
    end: int
    time: int
    """Timestamp of a neighbour in milliseconds, so that timestamps never decrease along a partition."""

    def fillers(self, each: TopicPartition) -> list[Record]:
        """Make the fillers for these offsets."""
        return [
            Record(each.topic, b"", b"", FILLER_HEADERS, each.partition, position, self.time)
            for position in range(self.first, self.end)
        ]

    def parts(self) -> Iterator["_Gap"]:
        """Split the gap into gaps of at most GAP offsets."""
        for first in range(self.first, self.end, GAP):
            yield _Gap(first, min(first + GAP, self.end), self.time)


def _pieces(manifest: Manifest, each: TopicPartition, start: int) -> Iterator[Record | _Gap]:
    """Yield the records and gaps of a partition from `start` to the end of its span. Raises Damaged."""
    at = start
    time = -1
    end = manifest.spans[each].end
    for segment in manifest.segments.get(each, ()):
        if segment.last < start:
            continue
        for record in segment.read(manifest.directory):
            if start <= record.offset < end:
                time = record.timestamp
                yield from _Gap(at, record.offset, time).parts()
                yield record
                at = record.offset + 1
    yield from _Gap(at, end, time).parts()


def _positions(manifest: Manifest, each: TopicPartition, start: int) -> Iterator[Record]:
    """Yield a record or a filler for each offset from `start` to the end of the span. Raises Damaged."""
    for piece in _pieces(manifest, each, start):
        yield from piece.fillers(each) if isinstance(piece, _Gap) else (piece,)


async def _fill(log: Log, manifest: Manifest, each: TopicPartition, start: int, done: RestoreResult) -> None:
    chunk: list[Record] = []
    size = 0
    for piece in _pieces(manifest, each, start):
        if isinstance(piece, _Gap):
            if chunk:
                await _put(log, each, chunk, done)
                chunk, size = [], 0
            await log.fill(each, piece.end - piece.first, piece.time)
            failpoints.point("restore-filled")
            await _must_end(log, each, piece.end)
            done.fillers += piece.end - piece.first
            continue
        chunk.append(piece)
        size += len(piece.key) + len(piece.value)
        if len(chunk) >= CHUNK_RECORDS or size >= CHUNK_BYTES:
            await _put(log, each, chunk, done)
            chunk, size = [], 0
    if chunk:
        await _put(log, each, chunk, done)


async def _put(log: Log, each: TopicPartition, chunk: list[Record], done: RestoreResult) -> None:
    await log.publish(chunk)
    failpoints.point("restore-put")
    await _must_end(log, each, chunk[-1].offset + 1)
    done.records += len(chunk)


async def _must_end(log: Log, each: TopicPartition, wanted: int) -> None:
    _, end = (await log.bounds([each.topic]))[each]
    if end != wanted:
        raise CannotRestore(
            f"{each.topic}:{each.partition} ends at {end} instead of {wanted}: another process writes to the log, or "
            "the log stored a record twice; begin anew with an empty log"
        )


async def _trim_beginnings(log: Log, manifest: Manifest) -> None:
    bounds = await log.bounds(list(manifest.counts()))
    late = {each: span.begin for each, span in manifest.spans.items() if bounds[each][0] < span.begin}
    if late:
        await log.trim(late)
