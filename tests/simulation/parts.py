"""The twins in memory, as they are on a bad day: slow, away, or gone between a deed and its acknowledgement."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

from domain.core.messages import Record
from infra.db.memory import MemoryTransaction, MemoryWriteStore
from infra.db.write_store import WriteStoreUnavailable
from infra.log.log import LogUnavailable, Positions, Reader, TopicPartition
from infra.log.memory import MemoryLog
from projections.store.memory import MemoryStore
from projections.store.port import ProjectionBatch, StoreUnavailable
from tests.simulation.processes import here, now

SLOWNESS = 0.01
"""Seconds that a request takes at most."""


@dataclass
class Weather:
    """What goes wrong, and when; all of it drawn from one seed."""

    random: Random
    chance: float = 0.02
    """That a request is done and its acknowledgement lost, or that it is not done at all."""
    log_down_until: float = 0.0
    db_down_until: float = 0.0
    told: list[str] = field(default_factory=list)

    def clear(self) -> None:
        """From now on nothing goes wrong."""
        self.chance = self.log_down_until = self.db_down_until = 0.0

    async def breathe(self) -> None:
        """A request takes its time, in which others run; a process that is stopped stays here."""
        await asyncio.sleep(self.random.random() * SLOWNESS)
        if (process := here()) is not None:
            await process.unstopped()

    def strikes(self) -> bool:
        """Whether this request is one that breaks."""
        return self.random.random() < self.chance

    @property
    def log_down(self) -> bool:
        """The log does not answer."""
        return asyncio.get_running_loop().time() < self.log_down_until

    @property
    def db_down(self) -> bool:
        """The database does not answer."""
        return asyncio.get_running_loop().time() < self.db_down_until


class SimulatedLog(MemoryLog):
    """A log that may take some of the records, or all of them, and say nothing of it."""

    def __init__(self, weather: Weather) -> None:
        super().__init__(clock=now)
        self._weather = weather

    async def publish(self, records: Sequence[Record]) -> None:
        await self._weather.breathe()
        if self._weather.log_down:
            raise LogUnavailable("the log is away")
        if self._weather.strikes():
            await super().publish(records[: self._weather.random.randrange(len(records) + 1)])
            raise LogUnavailable("the acknowledgement was lost")
        for number, record in enumerate(records):
            if number and self._weather.random.random() < 0.1:
                await self._weather.breathe()
            await super().publish([record])
        await self._weather.breathe()

    async def reader(self, positions: Positions, patience: float = 0.0, gather: float = 0.0) -> Reader:
        return SimulatedReader(await super().reader(positions, patience), self._weather)


class SimulatedReader:
    """Gives nothing while the log is away."""

    def __init__(self, reader: Reader, weather: Weather) -> None:
        self._reader = reader
        self._weather = weather

    async def fetch(self, most: int, wait: float) -> list[Record]:
        await self._weather.breathe()
        if self._weather.log_down:
            await asyncio.sleep(wait)
            return []
        return await self._reader.fetch(self._weather.random.randint(1, most), wait)

    async def position(self, partition: TopicPartition) -> int:
        return await self._reader.position(partition)

    async def close(self) -> None:
        await self._reader.close()


class SimulatedWriteStore(MemoryWriteStore):
    """A database that gives one step after another, as row locks do, and may go between commit and answer."""

    def __init__(self, weather: Weather) -> None:
        super().__init__(now)
        self._weather = weather
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def step(self) -> AsyncIterator[MemoryTransaction]:
        await self._weather.breathe()
        async with self._lock:
            if self._weather.db_down:
                raise WriteStoreUnavailable("the database is away")
            step = MemoryTransaction(self)
            yield step
            await asyncio.sleep(self._weather.random.random() * SLOWNESS)
            struck = self._weather.strikes()
            if struck and self._weather.random.random() < 0.5:
                raise WriteStoreUnavailable("it was not committed")
            step.commit()
            if struck:
                raise WriteStoreUnavailable("it was committed, and nobody was told")

    async def sent(self, numbers: Sequence[int]) -> None:
        await self._weather.breathe()
        if self._weather.db_down:
            raise WriteStoreUnavailable("the database is away")
        await super().sent(numbers)


class SimulatedStore(MemoryStore):
    """Read models in such a database."""

    def __init__(self, weather: Weather) -> None:
        super().__init__()
        self._weather = weather

    async def apply(self, batch: ProjectionBatch) -> None:
        await self._weather.breathe()
        if self._weather.db_down:
            raise StoreUnavailable("the database is away")
        struck = self._weather.strikes()
        if struck and self._weather.random.random() < 0.5:
            raise StoreUnavailable("it was not committed")
        await super().apply(batch)
        if struck:
            raise StoreUnavailable("it was committed, and nobody was told")
        await self._weather.breathe()
