"""What must hold of how far webhooks have been told: PostgreSQL's and the twin in memory."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from infra.db.migrate import migrate
from infra.webhooks.deliveries import Deliveries, Delivery
from infra.webhooks.memory import MemoryDeliveries
from infra.webhooks.postgres import PostgresDeliveries

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
WEB = "5a3f7c0b-8a07-5f0e-8e41-0f6c6a1d2e33"


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.real)])
async def deliveries(request: pytest.FixtureRequest) -> AsyncIterator[Deliveries]:
    if request.param == "memory":
        yield MemoryDeliveries()
        return
    dsn = request.getfixturevalue("real_servers").dsn
    migrate(dsn)
    with psycopg.connect(dsn) as connection:
        connection.execute("truncate webhook_deliveries")
    made = PostgresDeliveries(dsn)
    await made.open()
    yield made
    await made.close()


async def test_a_new_one_begins_where_it_is_to_begin_and_a_known_one_where_it_had_got_to(
    deliveries: Deliveries,
) -> None:
    assert await deliveries.get([WEB]) == {}
    new = await deliveries.take(WEB, (1, 2), "a", NOW, NOW + MINUTE)
    assert new == Delivery(WEB, (1, 2))
    moved = Delivery(WEB, (3, 2), 2, 5, 1, "0:3", NOW, "e", NOW, 500, "it says 500")
    assert await deliveries.keep(moved, "a", NOW + MINUTE)
    assert await deliveries.get([WEB, "other"]) == {WEB: moved}
    assert await deliveries.take(WEB, (9, 9), "a", NOW, NOW + MINUTE) == moved


async def test_whoever_holds_it_may_set_it_back(deliveries: Deliveries) -> None:
    mine = await deliveries.take(WEB, (5, 5), "a", NOW, NOW + MINUTE)
    assert mine is not None
    back = replace(mine, offsets=(1, 9), turn=3)
    assert await deliveries.keep(back, "a", NOW + MINUTE)
    assert await deliveries.take(WEB, (5, 5), "b", NOW + MINUTE, NOW + 2 * MINUTE) == back


async def test_one_holds_it_at_a_time(deliveries: Deliveries) -> None:
    mine = await deliveries.take(WEB, (0,), "a", NOW, NOW + MINUTE)
    assert mine is not None
    assert await deliveries.take(WEB, (0,), "b", NOW, NOW + MINUTE) is None
    assert not await deliveries.keep(replace(mine, offsets=(7,)), "b", NOW + MINUTE)
    assert await deliveries.get([WEB]) == {WEB: mine}
    assert await deliveries.take(WEB, (0,), "a", NOW + MINUTE / 2, NOW + 2 * MINUTE) == mine
    assert await deliveries.take(WEB, (0,), "b", NOW + MINUTE, NOW + 3 * MINUTE) is None


async def test_who_does_not_hold_on_loses_it(deliveries: Deliveries) -> None:
    mine = await deliveries.take(WEB, (0,), "a", NOW, NOW + MINUTE)
    assert mine is not None
    assert await deliveries.take(WEB, (0,), "b", NOW + MINUTE, NOW + 2 * MINUTE) == mine
    assert not await deliveries.keep(replace(mine, offsets=(7,)), "a", NOW + 2 * MINUTE)
    assert await deliveries.take(WEB, (0,), "a", NOW + MINUTE, NOW + 2 * MINUTE) is None


async def test_what_is_left_another_has_at_once(deliveries: Deliveries) -> None:
    await deliveries.take(WEB, (0,), "a", NOW, NOW + MINUTE)
    await deliveries.leave(WEB, "b")
    assert await deliveries.take(WEB, (0,), "b", NOW, NOW + MINUTE) is None
    await deliveries.leave(WEB, "a")
    assert await deliveries.take(WEB, (0,), "b", NOW, NOW + MINUTE) is not None


async def test_what_is_gone_is_forgotten(deliveries: Deliveries) -> None:
    mine = await deliveries.take(WEB, (0,), "a", NOW, NOW + MINUTE)
    await deliveries.forget(WEB)
    await deliveries.forget(WEB)
    assert await deliveries.get([WEB]) == {}
    assert mine is not None
    assert not await deliveries.keep(mine, "a", NOW + MINUTE)
