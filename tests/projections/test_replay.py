"""The past is gone through in a process of its own: one at a time, and no longer than it may take."""

import asyncio
from datetime import UTC, datetime

import pytest

from domain.scheduling.policy import DEFAULT
from domain.scheduling.simulation import Question
from domain.scheduling.table import Ratios
from infra.log.log import LogUnavailable
from projections.history import replay
from projections.history.replay import ProcessReplays, ReplayBusy, ReplayOverdue

START = datetime(2026, 1, 1, tzinfo=UTC)
QUESTION = Question(DEFAULT, Ratios(), DEFAULT, Ratios(), START, START.replace(year=2027), 10)
NOBODY = "127.0.0.1:1"


async def test_one_at_a_time_and_a_log_that_is_away_is_said_so() -> None:
    apart = ProcessReplays(NOBODY, 60)
    first = asyncio.create_task(apart.simulate(QUESTION))
    await asyncio.sleep(0)
    with pytest.raises(ReplayBusy):
        await apart.simulate(QUESTION)
    with pytest.raises(LogUnavailable):
        await first


async def test_it_ends_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "GRACE", 0.0)
    apart = ProcessReplays(NOBODY, 0.001)
    with pytest.raises(ReplayOverdue):
        await apart.simulate(QUESTION)
    monkeypatch.setattr(replay, "GRACE", 60.0)
    with pytest.raises(LogUnavailable):
        await apart.simulate(QUESTION)
