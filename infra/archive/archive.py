"""Archiving the log into files: all of it at first, and the new records at each later run.

An archive is a consistent cut through all partitions: for each record in it, the record that caused it is in it, too.
So a log restored from it can be folded and continued. The ends of all partitions cannot be read at one moment; so a cut
is taken, and extended where a record names a cause that lies after it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from domain.core.messages import Record, Topic
from domain.dead import PLACE
from infra.archive.errors import WrongLog
from infra.archive.lock import archive_lock
from infra.archive.manifest import Manifest, OffsetSpan, Segment, opened
from infra.archive.segment import UNFINISHED, Writer, fingerprint, verified_bytes
from infra.log.log import Log, TopicPartition
from infra.log.records import records
from infra.log.topics import TOPICS
from infra.process import failpoints

SEGMENT_BYTES = 32 << 20
"""Bytes of uncompressed lines after which a segment is full."""
SMALL_BYTES = 1 << 20
"""A segment of fewer bytes is continued by the next run, so that an archive updated every minute has few files."""
SAVE_EVERY = 16
"""Segments after which the manifest is saved: a run that is interrupted is continued from there."""
CAUSES = ("ce_causeplace", PLACE)

Progress = Callable[[str], None]


@dataclass
class ArchiveResult:
    """The result of a run: how many records and segments were added."""

    records: int = 0
    segments: int = 0
    lost: list[str] = field(default_factory=list)
    """A line of text for each range of records that retention removed before they were archived."""


async def archive(log: Log, directory: Path, progress: Progress = lambda line: None) -> ArchiveResult:
    """Add the records of the log that the archive in `directory` does not have yet.

    `progress` is called with a line of text for each topic. Raises Damaged, WrongLog, ArchiveBusy, LogUnavailable,
    OSError.
    """
    with archive_lock(directory, make=True):
        run = _Run(log, opened(directory), progress)
        try:
            await run.all()
        finally:
            run.drop()
        return run.done


class _Run:
    def __init__(self, log: Log, manifest: Manifest, progress: Progress) -> None:
        self.done = ArchiveResult()
        self._log = log
        self._manifest = manifest
        self._directory = manifest.directory
        self._progress = progress
        self._writers: dict[TopicPartition, Writer] = {}
        self._replaced: list[str] = []
        """Names of files whose records are in other files now, so that they can be deleted."""
        self._causes: dict[TopicPartition, int] = {}
        """For each partition, the offset after the last record that caused an archived one."""

    async def all(self) -> None:
        for path in self._directory.glob(f"*{UNFINISHED}"):
            path.unlink()
        bounds = await self._log.bounds(list(TOPICS))
        self._begin(bounds)
        self._note_unspanned()
        ends = {each: end for each, (_, end) in bounds.items()}
        wanted = ends
        while wanted:
            for topic in TOPICS:
                await self._take(topic, wanted)
            wanted = await self._behind(ends)
            ends |= wanted
        self._manifest.spans = {
            each: OffsetSpan(begin=span.begin, end=ends.get(each, span.end))
            for each, span in self._manifest.spans.items()
        }
        self._save()

    def drop(self) -> None:
        for writer in self._writers.values():
            writer.drop()

    def _begin(self, bounds: dict[TopicPartition, tuple[int, int]]) -> None:
        spans = self._manifest.spans
        for topic, count in self._manifest.counts().items():
            now = sum(each.topic == topic for each in bounds)
            if now != count:
                raise WrongLog(f"{topic} has {now} partitions, {count} in the archive")
        for each, (first, end) in bounds.items():
            spans.setdefault(each, OffsetSpan(begin=first, end=first))
            reached = self._manifest.reached(each)
            place = f"{each.topic}:{each.partition}"
            if end < reached:
                raise WrongLog(
                    f"{place} ends at {end}, and the archive has it up to {reached}: "
                    "this is another log, or its end was lost"
                )
            if first > reached:
                self.done.lost.append(f"{place}: {reached} to {first} were removed before they were archived")

    def _note_unspanned(self) -> None:
        """Note the causes of records after the spans, which an interrupted run archived."""
        for each, segments in self._manifest.segments.items():
            for segment in segments:
                if segment.last >= self._manifest.spans[each].end:
                    for record in segment.read(self._directory):
                        self._note(record)

    async def _behind(self, ends: dict[TopicPartition, int]) -> dict[TopicPartition, int]:
        behind = {each: upto for each, upto in self._causes.items() if upto > ends.get(each, upto)}
        if not behind:
            return {}
        # A record may name a place that does not exist.
        bounds = await self._log.bounds(sorted({each.topic for each in behind}))
        upto = {each: min(end, bounds[each][1]) for each, end in behind.items()}
        return {each: end for each, end in upto.items() if end > ends[each]}

    async def _take(self, topic: Topic, ends: dict[TopicPartition, int]) -> None:
        known = {each: found[-1] for each, found in self._manifest.segments.items() if each.topic == topic and found}
        news = {each: end for each, end in ends.items() if each.topic == topic and end > self._manifest.reached(each)}
        begins = {each: known[each].last if each in known else self._manifest.reached(each) for each in news}
        before = self.done.records
        async for record in records(self._log, topic, news, begins):
            each = TopicPartition(record.topic, record.partition or 0)
            last = known.get(each)
            if last is not None and record.offset <= last.last:
                if record.offset == last.last and fingerprint(record) != last.fingerprint:
                    raise WrongLog(f"{record.place} differs from the record in the archive: this is another log")
                continue
            self._add(each, record)
        for each in list(self._writers):
            self._finish(each)
        if self.done.records > before:
            self._progress(f"{topic}: {self.done.records - before} records")

    def _add(self, each: TopicPartition, record: Record) -> None:
        writer = self._writers.get(each)
        if writer is None:
            writer = self._writers[each] = self._open(each, record)
        writer.add(record)
        self._note(record)
        self.done.records += 1
        if writer.taken >= SEGMENT_BYTES:
            self._finish(each)

    def _open(self, each: TopicPartition, record: Record) -> Writer:
        tail = self._manifest.segments[each][-1:]
        if not tail or tail[0].bytes >= SMALL_BYTES:
            return Writer(self._directory, each.topic, each.partition, record.offset)
        before = verified_bytes(self._directory / tail[0].file, tail[0].bytes, tail[0].sha256)
        return Writer(self._directory, each.topic, each.partition, tail[0].first, before)

    def _finish(self, each: TopicPartition) -> None:
        writer = self._writers[each]
        failpoints.point("archive-taken")
        name, length, sha256 = writer.finish()
        del self._writers[each]
        failpoints.point("archive-named")
        assert writer.last is not None
        segments = self._manifest.segments[each]
        count = writer.records
        if segments and segments[-1].first == writer.first:
            gone = segments.pop()
            count += gone.records
            self._replaced.append(gone.file)
        segments.append(
            Segment(
                file=name,
                topic=each.topic,
                partition=each.partition,
                first=writer.first,
                last=writer.last.offset,
                records=count,
                bytes=length,
                sha256=sha256,
                fingerprint=fingerprint(writer.last),
            )
        )
        self.done.segments += 1
        if self.done.segments % SAVE_EVERY == 0:
            self._save()

    def _save(self) -> None:
        self._manifest.save()
        failpoints.point("archive-saved")
        for name in self._replaced:
            (self._directory / name).unlink(missing_ok=True)
        self._replaced.clear()

    def _note(self, record: Record) -> None:
        for name, value in record.headers:
            if name in CAUSES and value:
                topic, _, rest = value.decode(errors="replace").partition(":")
                partition, _, offset = rest.partition(":")
                if topic in set(TOPICS) and partition.isdecimal() and offset.isdecimal():
                    cause = TopicPartition(topic, int(partition))
                    self._causes[cause] = max(self._causes.get(cause, 0), int(offset) + 1)
