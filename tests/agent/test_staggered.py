"""Hosts take turns: once an interval each, and never all at once."""

import asyncio
import itertools
from collections import Counter

import pytest

from agent.runner.staggered import take_turns
from tests.simulation.loop import simulate


def test_each_has_its_turn_once_an_interval_and_they_are_spread_over_it() -> None:
    turns: list[tuple[float, int]] = []

    async def note(number: int) -> None:
        turns.append((asyncio.get_running_loop().time(), number))

    async def run() -> float:
        begin = asyncio.get_running_loop().time()
        taking = asyncio.create_task(take_turns(range(100), 10.0, note, name="test"))
        await asyncio.sleep(50.0)
        taking.cancel()
        return begin

    begin = simulate(run())
    per_second = Counter(int(at - begin) for at, _ in turns)
    assert max(per_second.values()) <= 12
    of_one = [at for at, number in turns if number == 70]
    assert len(of_one) == 5
    assert all(9 < after - before < 11 for before, after in itertools.pairwise(of_one))


def test_others_go_on_between_any_two_turns_that_come_late() -> None:
    async def run() -> list[int]:
        taken: list[int] = []

        async def note(number: int) -> None:
            taken.append(number)
            assert len(taken) < 100, "nobody else was let go on"

        taking = asyncio.create_task(take_turns(range(10), 0.0, note, name="test"))
        for _ in range(5):
            await asyncio.sleep(0)
        taking.cancel()
        return taken

    assert simulate(run()) == [0, 1, 2, 3, 4]


def test_after_a_round_that_took_longer_than_the_interval_there_is_a_rest() -> None:
    async def run() -> list[float]:
        loop = asyncio.get_running_loop()
        begin, taken = loop.time(), []

        async def slow(_: int) -> None:
            taken.append(loop.time() - begin)
            await asyncio.sleep(4.0)

        taking = asyncio.create_task(take_turns(range(2), 5.0, slow, name="test", rest=5.0))
        await asyncio.sleep(30.0)
        taking.cancel()
        return taken

    assert simulate(run())[:5] == pytest.approx([0, 4, 13, 17, 26])


async def test_nobody_has_no_turn() -> None:
    async def never(_: int) -> None:
        raise AssertionError

    await take_turns((), 1.0, never, name="test")
