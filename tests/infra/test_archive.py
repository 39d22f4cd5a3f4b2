"""The archive: the segment format, a run that is cut off anywhere, and a log that is made again from it."""

import asyncio
import gzip
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.core.messages import FILLER, Record, Topic
from infra.archive import archive as archiving
from infra.archive.archive import archive
from infra.archive.errors import ArchiveBusy, ArchiveError, CannotRestore, Damaged, NotEmpty, WrongLog
from infra.archive.lock import archive_lock
from infra.archive.manifest import NAME, Contents, Manifest, OffsetSpan, Segment, load
from infra.archive.restore import restore
from infra.archive.segment import Writer, decode, encode, fingerprint, unpacked, verified_bytes
from infra.log.log import TopicPartition
from infra.log.memory import MemoryLog
from infra.log.records import records
from infra.log.topics import TOPICS
from infra.process import failpoints

JOBS = TopicPartition(Topic.JOBS, 41)


@pytest.fixture(autouse=True)
def disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that nobody waits for."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


content = st.binary(max_size=40) | st.text(max_size=20).map(str.encode)
found = st.builds(
    Record,
    topic=st.just("t"),
    key=content,
    value=content,
    headers=st.lists(st.tuples(st.text(max_size=9), content | st.none()), max_size=4).map(tuple),
    partition=st.just(3),
    offset=st.integers(0, 2**62),
    timestamp=st.integers(-1, 2**62),
)


def in_order(some: list[Record]) -> list[Record]:
    return sorted({each.offset: each for each in some}.values(), key=lambda each: each.offset)


def written(directory: Path, some: Sequence[Record], before: bytes = b"") -> tuple[str, bytes]:
    writer = Writer(directory, "t", 3, some[0].offset, before)
    for each in some:
        writer.add(each)
    name, length, sha256 = writer.finish()
    return name, verified_bytes(directory / name, length, sha256)


# The format


@settings(deadline=None)
@given(found)
def test_a_record_is_read_from_a_line_as_it_was(record: Record) -> None:
    line = encode(record)
    assert b"\n" not in line
    back = decode("t", 3, line)
    assert (back, back.timestamp) == (record, record.timestamp)


@settings(max_examples=60, deadline=None)
@given(st.lists(found, min_size=1, max_size=30).map(in_order), st.integers(0, 29))
def test_a_segment_gives_what_was_put_in_also_when_it_was_gone_on_with(
    tmp_path_factory: pytest.TempPathFactory, some: list[Record], cut: int
) -> None:
    directory = tmp_path_factory.mktemp("segments")
    _, data = written(directory, some)
    assert list(unpacked("x", data, "t", 3)) == some
    first, rest = some[: cut + 1], some[cut + 1 :]
    if rest:
        _, begun = written(directory, first)
        _, both = written(directory, rest, begun)
        assert list(unpacked("x", both, "t", 3)) == some


def test_a_segment_is_lines_that_any_program_reads(tmp_path: Path) -> None:
    record = Record("t", b"k", b'{"a": 1}', (("ce_id", b"1"), ("raw", b"\xff")), 3, 7, 1234)
    name, data = written(tmp_path, [record])
    head, line = map(orjson.loads, gzip.decompress(data).splitlines())
    assert name == "t-3-00000000000000000007-00000000000000000007.jsonl.gz"
    assert head == {"gostack": "segment", "version": 1, "topic": "t", "partition": 3}
    assert line == {
        "position": 7,
        "timestamp": 1234,
        "key": "k",
        "headers": [["ce_id", "1"], ["raw", {"base64": "/w=="}]],
        "value": '{"a": 1}',
    }


def test_the_same_records_make_the_same_bytes(tmp_path: Path) -> None:
    some = [Record("t", b"k", bytes([number]), (), 3, number, 5) for number in range(9)]
    assert written(tmp_path, some)[1] == written(tmp_path, some)[1]


def test_a_fingerprint_knows_all() -> None:
    record = Record("t", b"k", b"v", (("a", b"b"),), 3, 7, 1)
    changes = ({"key": b"x"}, {"value": b"x"}, {"headers": ()}, {"offset": 8}, {"timestamp": 2})
    assert len({fingerprint(each) for each in (record, *(replace(record, **change) for change in changes))}) == 6


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        gzip.compress(b"", mtime=0),
        gzip.compress(b"{}\n", mtime=0),
        gzip.compress(b"null\n", mtime=0),
        b"\x1f\x8b\x08\0",
    ],
)
def test_what_is_no_segment_is_named(data: bytes) -> None:
    with pytest.raises(Damaged, match=r"^file: the file is no segment"):
        list(unpacked("file", data, "t", 3))


def test_a_segment_of_another_partition_is_no_segment_of_this(tmp_path: Path) -> None:
    _, data = written(tmp_path, [Record("t", b"", b"", (), 3, 0)])
    with pytest.raises(Damaged, match=r'names another partition or version: .*"partition":3'):
        list(unpacked("file", data, "t", 4))


# Archives of a log


def said(topic: str, number: int, partition: int | None = None, *headers: tuple[str, bytes]) -> Record:
    return Record(topic, f"key-{number % 5}".encode(), f'{{"number": {number}}}'.encode(), headers, partition)


async def filled(log: MemoryLog, count: int, start: int = 0) -> MemoryLog:
    for topic in TOPICS:
        await log.publish([said(topic, number) for number in range(start, start + count)])
    return log


async def everything(log: MemoryLog) -> dict[TopicPartition, list[Record]]:
    """Every record that says something."""
    all_of: dict[TopicPartition, list[Record]] = {}
    for topic in TOPICS:
        async for record in records(log, topic):
            all_of.setdefault(TopicPartition(record.topic, record.partition or 0), []).append(record)
    return all_of


async def times(log: MemoryLog) -> dict[TopicPartition, list[int]]:
    return {each: [record.timestamp for record in found] for each, found in (await everything(log)).items()}


async def assert_same(one: MemoryLog, other: MemoryLog) -> None:
    assert await one.bounds(list(TOPICS)) == await other.bounds(list(TOPICS))
    assert await everything(one) == await everything(other)
    assert await times(one) == await times(other)


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def only_file(directory: Path, pattern: str) -> Path:
    (path,) = directory.glob(pattern)
    return path


async def test_a_restored_log_is_the_log(tmp_path: Path) -> None:
    log, again = await filled(MemoryLog(), 200), MemoryLog()
    done = await archive(log, tmp_path)
    assert (done.records, done.lost) == (200 * len(TOPICS), [])
    restored = await restore(again, tmp_path)
    assert (restored.records, restored.fillers, restored.found) == (200 * len(TOPICS), 0, 0)
    await assert_same(log, again)


async def test_the_next_run_adds_what_is_new_and_nothing_else(tmp_path: Path) -> None:
    log = await filled(MemoryLog(), 40)
    await archive(log, tmp_path)
    assert (await archive(log, tmp_path)).segments == 0
    await filled(log, 30, 40)
    assert (await archive(log, tmp_path)).records == 30 * len(TOPICS)
    again = MemoryLog()
    await restore(again, tmp_path)
    await assert_same(log, again)
    named = {segment.file for each in load(tmp_path).segments.values() for segment in each}
    assert names(tmp_path) == {NAME, *named}, "what was gone on with is not kept twice"


async def test_a_restored_log_is_gone_on_with_by_its_archive(tmp_path: Path) -> None:
    log, again = await filled(MemoryLog(), 40), MemoryLog()
    await archive(log, tmp_path)
    await restore(again, tmp_path)
    await filled(again, 10, 40)
    assert (await archive(again, tmp_path)).records == 10 * len(TOPICS)


async def test_segments_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archiving, "SEGMENT_BYTES", 1000)
    monkeypatch.setattr(archiving, "SMALL_BYTES", 0)
    log, again = await filled(MemoryLog(), 300), MemoryLog()
    assert (await archive(log, tmp_path)).segments > 100
    lengths = [len(gzip.decompress((tmp_path / name).read_bytes())) for name in names(tmp_path) - {NAME}]
    assert max(lengths) < 1000 + 2 * 200
    await restore(again, tmp_path)
    await assert_same(log, again)


async def test_what_retention_removed_is_not_there_and_positions_stay(tmp_path: Path) -> None:
    log, again = await filled(MemoryLog(), 300), MemoryLog()
    bounds = await log.bounds([Topic.JOBS])
    busy = [each for each, (_, end) in bounds.items() if end > 10]
    whole_gone, half_gone = busy[0], busy[1]
    await log.trim({whole_gone: bounds[whole_gone][1], half_gone: 5})
    await archive(log, tmp_path)
    restored = await restore(again, tmp_path)
    assert restored.fillers == bounds[whole_gone][1] + 5
    await assert_same(log, again)


async def test_what_retention_removed_before_it_was_archived_is_told_and_held_by_fillers(tmp_path: Path) -> None:
    log, again = MemoryLog(), MemoryLog()
    await log.publish([said(Topic.JOBS, number, 41) for number in range(10)])
    await archive(log, tmp_path)
    await log.publish([said(Topic.JOBS, number, 41) for number in range(10, 30)])
    await log.trim({JOBS: 20})
    done = await archive(log, tmp_path)
    assert done.lost == ["gostack.jobs:41: 10 to 20 were removed before they were archived"]
    assert (await restore(again, tmp_path)).fillers == 10
    assert [each.offset for each in (await everything(again))[JOBS]] == [*range(10), *range(20, 30)]
    fillers = [each for each in again.all(Topic.JOBS) if each.filler]
    assert [each.offset for each in fillers] == list(range(10, 20))
    assert {each.headers for each in fillers} == {((FILLER, b"1"),)}


async def test_a_cause_is_archived_with_what_followed_from_it(tmp_path: Path) -> None:
    """Ends are asked for one topic after another, and the log goes on meanwhile."""

    class Late(MemoryLog):
        cut = False

        async def bounds(self, topics: Sequence[str]) -> dict[TopicPartition, tuple[int, int]]:
            found = await super().bounds(topics)
            if len(topics) == len(TOPICS) and self.cut:
                self.cut = False
                place = TopicPartition(Topic.COMMANDS, 3)
                found[place] = (0, found[place][1] - 4)
            return found

    log, again = Late(), MemoryLog()
    await log.publish([said(Topic.COMMANDS, number, 3) for number in range(10)])
    await log.publish([said(Topic.EVENTS, 0, 5, ("ce_causeplace", b"gostack.commands:3:7"))])
    nowhere = [b"gostack.commands:3:999999", b"gostack.commands:99:1", b"x:1:1", b"\xff", b"gostack.commands:3:-1"]
    await log.publish([said(Topic.EVENTS, 1, 5, ("ce_causeplace", each)) for each in nowhere])
    log.cut = True
    await archive(log, tmp_path)
    await restore(again, tmp_path)
    assert len(again.all(Topic.COMMANDS)) >= 8
    assert len(again.all(Topic.EVENTS)) == 6


async def test_another_log_is_refused(tmp_path: Path) -> None:
    await archive(await filled(MemoryLog(), 40), tmp_path)
    with pytest.raises(WrongLog, match=r"gostack\.\w+:\d+ ends at \d+, and the archive has it up to \d+"):
        await archive(await filled(MemoryLog(), 30), tmp_path)
    other = MemoryLog()
    for topic in TOPICS:
        await other.publish([replace(said(topic, number), value=b"other") for number in range(60)])
    with pytest.raises(WrongLog, match="differs from the record in the archive"):
        await archive(other, tmp_path)
    counts = {str(topic): each.partitions for topic, each in TOPICS.items()} | {Topic.DEAD: 2}
    with pytest.raises(WrongLog, match=r"gostack\.dead has 2 partitions, 1 in the archive"):
        await archive(MemoryLog(counts), tmp_path)


async def test_one_process_at_a_time(tmp_path: Path) -> None:
    with archive_lock(tmp_path), pytest.raises(ArchiveBusy):
        await archive(MemoryLog(), tmp_path)
    await archive(MemoryLog(), tmp_path)


# Damage


def damage(directory: Path) -> list[str]:
    """The files that are damaged."""
    try:
        manifest = load(directory)
    except Damaged as damaged:
        return [str(damaged).split(":")[0]]
    return [str(each).split(":")[0] for each in manifest.problems()]


Harm = Callable[[Path], None]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("harm", "what"),
    [(truncate, r"the file has \d+ bytes, and \d+ were"), (flip, "the SHA-256 is"), (remove, "the file is missing")],
)
async def test_a_damaged_segment_is_named_and_nothing_is_restored(tmp_path: Path, harm: Harm, what: str) -> None:
    log, again = await filled(MemoryLog(), 40), MemoryLog()
    await archive(log, tmp_path)
    path = only_file(tmp_path, "gostack.dead-0-*.gz")
    harm(path)
    problems = [str(each) for each in load(tmp_path).problems()]
    assert len(problems) == 1
    for work in (restore(again, tmp_path), archive(await filled(log, 5, 40), tmp_path)):
        with pytest.raises(Damaged, match=f"^{path.name}: {what}"):
            await work
    assert await everything(again) == {}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_flipped_bit_is_seen(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    directory = tmp_path_factory.mktemp("archive")
    log = MemoryLog(clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))

    async def make() -> None:
        await log.publish([said(Topic.DEAD, number) for number in range(3)])
        await archive(log, directory)

    asyncio.run(make())
    path = data.draw(st.sampled_from(sorted(directory.iterdir())))
    content = bytearray(path.read_bytes())
    # The manifest's last byte is the end of its line.
    bit = data.draw(st.integers(0, 8 * (len(content) - 1) - 1))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bytes(content))
    found = damage(directory)
    # In a manifest it may be white space between two words that is another now.
    assert found == [path.name] or (path.name, found) == (NAME, [])


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"null", b"{}", b'{"sha256": "x", "contents": {}}', b"\xff", b'{"contents": 1, "sha256": 2}']
)
async def test_a_damaged_manifest_is_named(tmp_path: Path, text: bytes) -> None:
    await archive(await filled(MemoryLog(), 5), tmp_path)
    (tmp_path / NAME).write_bytes(text)
    for work in (restore(MemoryLog(), tmp_path), archive(MemoryLog(), tmp_path)):
        with pytest.raises(Damaged, match=r"^manifest\.json: "):
            await work


async def test_a_directory_without_a_manifest_is_no_archive(tmp_path: Path) -> None:
    with pytest.raises(Damaged, match=r"the file is missing: .* holds no archive"):
        await restore(MemoryLog(), tmp_path)
    log = await filled(MemoryLog(), 5)
    await archive(log, tmp_path)
    (tmp_path / NAME).unlink()
    with pytest.raises(Damaged, match="the file is missing, and there are segments"):
        await archive(log, tmp_path)


def test_segments_that_overlap_are_no_archive(tmp_path: Path) -> None:
    one = Segment(file="a", topic="t", partition=0, first=0, last=5, records=1, bytes=1, sha256="", fingerprint="")
    contents = Contents(spans={"t": [OffsetSpan(begin=0, end=9)]}, segments=[one, one.model_copy(update={"first": 5})])
    Manifest(tmp_path, contents).save()
    with pytest.raises(Damaged, match="begins before a ends"):
        load(tmp_path)


# Cut off


class Killed(BaseException):
    """What SIGKILL is to a process."""


def kill_at(monkeypatch: pytest.MonkeyPatch, point: str, number: int) -> None:
    left = [number]

    def passed(name: str) -> None:
        left[0] -= name == point
        if name == point and left[0] == 0:
            raise Killed

    monkeypatch.setattr(failpoints, "point", passed)


@pytest.mark.parametrize("number", [1, 2, 17])
@pytest.mark.parametrize("point", ["archive-taken", "archive-named", "archive-saved"])
async def test_a_run_that_is_cut_off_leaves_a_valid_archive_and_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, number: int
) -> None:
    log, before = await filled(MemoryLog(), 40), MemoryLog()
    await archive(log, tmp_path)
    await restore(before, tmp_path)
    await filled(log, 60, 40)
    with monkeypatch.context() as during:
        kill_at(during, point, number)
        try:
            await archive(log, tmp_path)
        except Killed:
            pass
        else:
            assert point == "archive-saved", "it was to be cut off"
            return
    cut = MemoryLog()
    assert list(load(tmp_path).problems()) == []
    await restore(cut, tmp_path)
    ended = point == "archive-saved" and await everything(cut) == await everything(log)
    if not ended:
        await assert_same(before, cut)
    await archive(log, tmp_path)
    again = MemoryLog()
    await restore(again, tmp_path)
    await assert_same(log, again)


async def test_a_first_run_that_is_cut_off_is_nothing_to_restore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await filled(MemoryLog(), 300)
    with monkeypatch.context() as during:
        kill_at(during, "archive-saved", 1)
        with pytest.raises(Killed):
            await archive(log, tmp_path)
    assert load(tmp_path).segments, "what it did is kept"
    with pytest.raises(CannotRestore, match="no run of `gostack archive` was completed here"):
        await restore(MemoryLog(), tmp_path)
    assert (await archive(log, tmp_path)).records < 300 * len(TOPICS)


@pytest.mark.parametrize(("point", "number"), [("restore-put", 1), ("restore-put", 9), ("restore-filled", 1)])
async def test_a_restore_that_is_cut_off_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, number: int
) -> None:
    from infra.archive import restore as restoring

    monkeypatch.setattr(restoring, "CHUNK_RECORDS", 7)
    monkeypatch.setattr(restoring, "GAP", 2)
    log, again = await filled(MemoryLog(), 100), MemoryLog()
    await log.trim({TopicPartition(Topic.REPORTS, 0): 3, TopicPartition(Topic.COMMANDS, 0): 1})
    await archive(log, tmp_path)
    with monkeypatch.context() as during:
        kill_at(during, point, number)
        with pytest.raises(Killed):
            await restore(again, tmp_path)
    done = await restore(again, tmp_path)
    assert 0 < done.found <= 7 * number + 4
    await assert_same(log, again)
    assert (await restore(again, tmp_path)).records == 0, "what is there is left as it is"


# Logs that are not empty


@pytest.mark.parametrize("topic", [Topic.EVENTS, Topic.DEAD])
async def test_a_log_that_is_not_empty_is_refused_by_name(tmp_path: Path, topic: Topic) -> None:
    await archive(await filled(MemoryLog(), 40), tmp_path)
    log = MemoryLog()
    await log.publish([said(topic, 999, 0)])
    with pytest.raises(NotEmpty, match=rf"^{topic} is not empty: partition 0 has records at offsets 0 to 0"):
        await restore(log, tmp_path)
    assert sum(map(len, (await everything(log)).values())) == 1


async def test_a_log_that_went_on_is_refused(tmp_path: Path) -> None:
    log = await filled(MemoryLog(), 40)
    await archive(log, tmp_path)
    await log.publish([said(Topic.DEAD, 41)])
    with pytest.raises(NotEmpty, match=r"gostack\.dead is not empty"):
        await restore(log, tmp_path)


async def test_somebody_who_writes_meanwhile_is_noticed(tmp_path: Path) -> None:
    class Busy(MemoryLog):
        async def publish(self, records: Sequence[Record]) -> None:
            await super().publish(records)
            await super().publish([said(Topic.COMMANDS, 0, records[0].partition)])

    await archive(await filled(MemoryLog(), 40), tmp_path)
    with pytest.raises(CannotRestore, match="another process writes"):
        await restore(Busy(), tmp_path)


async def test_topics_must_be_those_of_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await archive(await filled(MemoryLog(), 5), tmp_path)
    with monkeypatch.context() as other:
        other.setitem(TOPICS, Topic.DEAD, replace(TOPICS[Topic.DEAD], partitions=2))
        with pytest.raises(CannotRestore, match=r"gostack\.dead has 2 partitions, 1 in the archive"):
            await restore(MemoryLog(), tmp_path)
    monkeypatch.delitem(TOPICS, Topic.DEAD)
    with pytest.raises(ArchiveError, match=r"this release has no topic gostack\.dead"):
        await restore(MemoryLog(), tmp_path)
