"""The projector's process: neither of its halves goes on without the other."""

import asyncio
from typing import Any

import pytest

from infra.log.memory import MemoryLog
from infra.process.settings import Metrics, Settings
from projections import compose
from projections.projector import Projector
from projections.store.memory import MemoryStore


class Store(MemoryStore):
    """As one that has connections."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(compose, "KafkaLog", lambda *_: MemoryLog())
    monkeypatch.setattr(compose, "PostgresStore", lambda *_, **__: Store())
    return Settings(metrics=Metrics(projector=0))


async def never(*_: Any) -> None:
    await asyncio.Event().wait()


async def fails(*_: Any) -> None:
    raise LookupError("nobody foresaw this")


@pytest.mark.parametrize(("projecting", "operating"), [(never, fails), (fails, never)])
async def test_what_ends_one_half_ends_the_process(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, projecting: Any, operating: Any
) -> None:
    monkeypatch.setattr(Projector, "run", projecting)
    monkeypatch.setattr(compose, "run_maintenance", operating)
    async with asyncio.timeout(5):
        with pytest.raises(LookupError):
            await compose.projector(settings)
