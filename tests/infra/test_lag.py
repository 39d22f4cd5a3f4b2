"""How far a reader is behind, in records and in seconds."""

from datetime import UTC, datetime, timedelta

from domain.core.messages import Record, Topic
from infra.log.lag import Lag, export_lags, lags, total_lag
from infra.log.log import TopicPartition
from infra.log.memory import MemoryLog
from infra.process.metrics import REGISTRY

START = datetime(2026, 1, 1, tzinfo=UTC)
FIRST, SECOND = TopicPartition(Topic.EVENTS, 0), TopicPartition(Topic.EVENTS, 1)


class Desk:
    """A log with a record a second, turn about in two partitions."""

    def __init__(self) -> None:
        self.now = START
        self.log = MemoryLog(clock=lambda: self.now)

    async def told(self, count: int) -> "Desk":
        for number in range(count):
            await self.log.publish([Record(Topic.EVENTS, b"k", b"v", partition=number % 2)])
            self.now += timedelta(seconds=1)
        return self


async def test_the_oldest_that_waits_is_as_old_as_it_has_been_on_the_log() -> None:
    desk = await Desk().told(6)
    assert await lags(desk.log, {FIRST: 2, SECOND: 1}, desk.now) == {"gostack.events": Lag(3, 3.0)}
    assert await lags(desk.log, {FIRST: 0, SECOND: 3}, desk.now) == {"gostack.events": Lag(3, 6.0)}


async def test_where_nothing_waits_nothing_is_old() -> None:
    desk = await Desk().told(4)
    desk.now += timedelta(hours=1)
    assert await lags(desk.log, {FIRST: 2, SECOND: 2}, desk.now) == {"gostack.events": Lag(0, 0.0)}


async def test_a_topic_of_which_nothing_is_ones_own_is_told_as_done() -> None:
    desk = await Desk().told(4)
    found = await lags(desk.log, {FIRST: 0}, desk.now, [Topic.COMMANDS])
    assert found == {"gostack.events": Lag(2, 4.0), "gostack.commands": Lag(0, 0.0)}
    assert total_lag(found) == Lag(2, 4.0)


async def test_a_log_whose_clock_is_ahead_makes_no_negative_age() -> None:
    desk = await Desk().told(2)
    assert await lags(desk.log, {FIRST: 0}, START - timedelta(seconds=5)) == {"gostack.events": Lag(1, 0.0)}


async def test_it_is_told_to_prometheus() -> None:
    export_lags("test", {"gostack.events": Lag(3, 1.5)})
    labels = {"process": "test", "topic": "gostack.events"}
    assert REGISTRY.get_sample_value("gostack_lag_records", labels) == 3
    assert REGISTRY.get_sample_value("gostack_lag_seconds", labels) == 1.5
