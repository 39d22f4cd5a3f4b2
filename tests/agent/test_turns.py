"""Hosts take turns: once an interval each, and never all at once."""

import asyncio
import itertools
from collections import Counter

from agent.turns import in_turn
from tests.simulation.loop import simulate


def test_each_has_its_turn_once_an_interval_and_they_are_spread_over_it() -> None:
    turns: list[tuple[float, int]] = []

    async def note(number: int) -> None:
        turns.append((asyncio.get_running_loop().time(), number))

    async def run() -> float:
        begin = asyncio.get_running_loop().time()
        taking = asyncio.create_task(in_turn(range(100), 10.0, note))
        await asyncio.sleep(50.0)
        taking.cancel()
        return begin

    begin = simulate(run())
    per_second = Counter(int(at - begin) for at, _ in turns)
    assert max(per_second.values()) <= 12
    of_one = [at for at, number in turns if number == 70]
    assert len(of_one) == 5
    assert all(9 < after - before < 11 for before, after in itertools.pairwise(of_one))


def test_others_go_on_where_the_turns_take_longer_than_the_interval() -> None:
    async def run() -> list[int]:
        taken: list[int] = []

        async def note(number: int) -> None:
            taken.append(number)

        taking = asyncio.create_task(in_turn(range(10), 0.0, note))
        for _ in range(5):
            await asyncio.sleep(0)
        taking.cancel()
        return taken

    assert simulate(run())[:3] == [0, 1, 2]
