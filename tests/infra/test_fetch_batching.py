"""When fetches gather, and when they do not."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from infra.log.fetch_batching import GATHERED_BYTES, LONGEST_MS, MANY, WINDOW, FetchBatching

ONCE_A_WINDOW = int(MANY * WINDOW)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    at = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: at[0])
    return at


def test_fetches_gather_while_many_records_come(now: list[float]) -> None:
    fetcher = SimpleNamespace(_fetch_min_bytes=1, _fetch_max_wait_ms=LONGEST_MS)
    consumer: Any = SimpleNamespace(_fetcher=fetcher)
    batching = FetchBatching(0.05)
    batching.fetched(consumer, 10_000)
    assert fetcher._fetch_min_bytes == 1, "not before a while is over"
    for count, gathers in ((0, True), (ONCE_A_WINDOW, True), (ONCE_A_WINDOW // 2, False), (0, False)):
        now[0] += WINDOW * 1.001
        batching.fetched(consumer, count + (1 if gathers else 0))
        found = (fetcher._fetch_min_bytes, fetcher._fetch_max_wait_ms)
        assert found == ((GATHERED_BYTES, 50) if gathers else (1, LONGEST_MS)), count
