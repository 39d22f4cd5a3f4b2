"""The contract of projection runs: the twin in memory and PostgreSQL answer alike."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from infra.db.migrate import migrate
from projections.maintenance.runs import (
    LOST,
    MOST_PROBLEMS,
    SILENCE,
    Run,
    Runs,
    RunUnderWay,
)
from projections.maintenance.runs_memory import MemoryRuns
from projections.maintenance.runs_postgres import PostgresRuns
from projections.views.view import UnknownMarker
from tests.servers import Servers

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.real)])
def runs(request: pytest.FixtureRequest) -> Runs:
    if request.param == "memory":
        return MemoryRuns()
    servers: Servers = request.getfixturevalue("real_servers")
    migrate(servers.dsn)
    with psycopg.connect(servers.dsn) as connection:
        connection.execute("truncate projection_runs")
    return PostgresRuns(servers.dsn)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def asked(ident: str = "a", seconds: float = 0) -> Run:
    return Run(ident, "verify", "asked", "ann", later(seconds))


async def test_what_is_asked_is_taken_once_told_of_and_ends(runs: Runs) -> None:
    assert await runs.get("a") is None
    await runs.request(asked())
    assert await runs.get("a") == asked()
    assert await runs.take(later(1)) == Run("a", "verify", "running", "ann", NOW, later(1), later(1))
    assert await runs.take(later(1)) is None
    await runs.report_progress("a", later(2), 5, 10)
    await runs.end("a", later(3), ("one", "two"))
    ended = Run("a", "verify", "finished", "ann", NOW, later(1), later(2), later(3), 5, 10, ("one", "two"))
    assert await runs.get("a") == ended
    await runs.report_progress("a", later(4), 6, 10)
    await runs.end("a", later(4), error="too late")
    assert await runs.get("a") == ended


async def test_one_is_under_way_at_a_time(runs: Runs) -> None:
    await runs.request(asked())
    for _ in range(2):
        with pytest.raises(RunUnderWay, match=r"^a$"):
            await runs.request(asked("b"))
        await runs.take(NOW)
    await runs.end("a", NOW, error="no luck")
    await runs.request(asked("b"))
    failed = await runs.get("a")
    assert failed
    assert (failed.status, failed.error) == ("failed", "no luck")


async def test_one_that_fell_silent_is_failed_and_the_next_is_taken(runs: Runs) -> None:
    await runs.request(asked())
    await runs.take(NOW)
    assert await runs.take(NOW + SILENCE) is None
    assert (await runs.get("a")) == Run("a", "verify", "running", "ann", NOW, NOW, NOW)
    late = NOW + SILENCE + timedelta(seconds=1)
    assert await runs.take(late) is None
    lost = await runs.get("a")
    assert lost
    assert (lost.status, lost.error, lost.finished) == ("failed", LOST, late)
    await runs.request(asked("b"))
    assert (await runs.take(late)) is not None


async def test_problems_are_kept_up_to_a_bound(runs: Runs) -> None:
    await runs.request(asked())
    await runs.take(NOW)
    await runs.end("a", NOW, ("wrong",) * (MOST_PROBLEMS + 1))
    run = await runs.get("a")
    assert run
    assert len(run.problems) == MOST_PROBLEMS


async def test_pages_go_from_the_newest(runs: Runs) -> None:
    for number, ident in enumerate("abc"):
        await runs.request(asked(ident, number))
        await runs.take(NOW)
        await runs.end(ident, NOW)
    assert [run.id for run in await runs.page(2)] == ["c", "b"]
    assert [run.id for run in await runs.page(2, "b")] == ["a"]
    with pytest.raises(UnknownMarker):
        await runs.page(2, "nobody")
