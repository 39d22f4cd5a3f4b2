"""An empty log is filled from an archive: the same records at the same positions.

Why the same positions: PostgreSQL remembers how far it is by them, events name their causes by them, and users name
moments and go on with a feed by them. Where the archived log had no record (what retention removed, the marks of a
transaction, what it took back) a filler is written, which every reader passes over; those at a partition's beginning
are let go of afterwards, so that it begins where it began.

What was cut off is gone on with: a log that holds a beginning of the archive, and nothing else, is filled up.
"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from domain.core.messages import FILLER_HEADERS, Record
from infra.archive.archive import Progress
from infra.archive.errors import CannotRestore, NotEmpty
from infra.archive.lock import archive_lock
from infra.archive.manifest import Manifest, Span, load
from infra.log.log import Log, LogUnavailable, Reader, TopicPartition
from infra.log.topics import TOPICS
from infra.process import failpoints

CHUNK_RECORDS = 2000
CHUNK_BYTES = 4 << 20
GAP = 100_000
"""Positions that are filled at a time."""
FETCH = 1000
WAIT = 1.0
TRIES = 30
"""Times of WAIT for which a log that says that it has more may give nothing."""


@dataclass
class RestoreResult:
    """What was done."""

    records: int = 0
    fillers: int = 0
    found: int = 0
    """Records that were there: an earlier run was cut off."""


async def restore(log: Log, directory: Path, told: Progress = lambda line: None) -> RestoreResult:
    """Fill the log. Every file is read before anything is written.

    Raises Damaged, NotEmpty, CannotRestore, ArchiveBusy, LogUnavailable, OSError.
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
                told(f"{topic}: {done.records - before} records")
        await log.keep_times(False)
        await _begin_where_it_began(log, manifest)
        return done


def _must_fit(manifest: Manifest) -> None:
    if not any(span.end for span in manifest.spans.values()):
        raise CannotRestore("no run of `gostack archive` has ended here: there is nothing whole to restore")
    for topic, count in manifest.counts().items():
        declared = next((each.partitions for each in TOPICS.values() if each.topic == topic), None)
        if declared is None:
            raise CannotRestore(f"this release has no topic {topic}")
        if declared != count:
            raise CannotRestore(f"{topic} has {declared} partitions, the archive has it with {count}")


async def _must_begin(log: Log, manifest: Manifest, each: TopicPartition, first: int, end: int) -> None:
    """Raises NotEmpty."""
    refused = NotEmpty(
        f"{each.topic} is not empty: partition {each.partition} has positions {first} to {end - 1}, and they are no "
        "beginning of this archive"
    )
    span = manifest.spans.get(each, Span(begin=0, end=0))
    if end > span.end:
        raise refused
    if first == end:
        return
    reader = await log.reader({each: first})
    wanted = _positions(manifest, each, first)
    try:
        async for record in _given(reader, end):
            if record != next(wanted):
                raise refused
    finally:
        await reader.close()


async def _given(reader: Reader, end: int) -> AsyncIterator[Record]:
    """What lies before the end of the one partition that is read. Raises LogUnavailable."""
    silent = 0
    at = -1
    while at < end:
        found = await reader.fetch(FETCH, WAIT)
        silent = 0 if found else silent + 1
        if silent == TRIES:
            raise LogUnavailable(f"nothing was given within {WAIT * TRIES} s, at position {at} of {end}")
        for record in found:
            at = record.offset + 1
            if record.offset < end:
                yield record


@dataclass(frozen=True)
class _Gap:
    """Positions at which the archived log had no record."""

    first: int
    end: int
    time: int
    """Of a neighbour, so that times never go back along a partition."""

    def fillers(self, each: TopicPartition) -> list[Record]:
        """What is to lie there."""
        return [
            Record(each.topic, b"", b"", FILLER_HEADERS, each.partition, position, self.time)
            for position in range(self.first, self.end)
        ]

    def parts(self) -> Iterator["_Gap"]:
        """It, in pieces of a bounded size."""
        for first in range(self.first, self.end, GAP):
            yield _Gap(first, min(first + GAP, self.end), self.time)


def _pieces(manifest: Manifest, each: TopicPartition, start: int) -> Iterator[Record | _Gap]:
    """What is to lie from `start` to the end of the span. Raises Damaged."""
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
    """The same, a record a position."""
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
            f"{each.topic}:{each.partition} ends at {end} where {wanted} was due: somebody else writes to it, or the "
            "log took something twice; begin anew with an empty log"
        )


async def _begin_where_it_began(log: Log, manifest: Manifest) -> None:
    bounds = await log.bounds(list(manifest.counts()))
    late = {each: span.begin for each, span in manifest.spans.items() if bounds[each][0] < span.begin}
    if late:
        await log.trim(late)
