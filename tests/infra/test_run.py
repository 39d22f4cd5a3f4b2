"""A process of asyncio parts: a signal ends it in order, and no part goes on without the others."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import pytest

from infra.process.run import run_until_signal

PATIENCE = 5.0


class Scene:
    """Parts that write down what happens to them."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def lasts(self, name: str) -> Callable[[], Awaitable[None]]:
        async def part() -> None:
            self.said.append(f"{name} begins")
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.01)
                self.said.append(f"{name} ends")

        return part

    def does(self, name: str, error: Exception | None = None) -> Callable[[], Awaitable[None]]:
        async def part() -> None:
            self.said.append(name)
            if error is not None:
                raise error

        return part


async def signals(number: int) -> None:
    await asyncio.sleep(0.05)
    os.kill(os.getpid(), number)
    await asyncio.Event().wait()


async def run(*parts: Callable[[], Awaitable[object]], **about: tuple[Callable[[], Awaitable[object]], ...]) -> None:
    async with asyncio.timeout(PATIENCE):
        await run_until_signal(*parts, **about)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the running of the parts logs; a server that another test left in a thread may end just now."""
    return [each.getMessage() for each in caplog.records if each.name == "infra.process.run"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_parts_in_order_and_then_closes_in_order(
    number: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    scene = Scene()
    await run(
        scene.lasts("a"),
        scene.lasts("b"),
        lambda: signals(number),
        opening=(scene.does("open"),),
        closing=(scene.does("close 1"), scene.does("close 2")),
    )
    assert scene.said == ["open", "a begins", "b begins", "a ends", "b ends", "close 1", "close 2"]
    assert told(caplog) == ["stopped after a signal"]


async def test_a_part_that_ends_ends_the_others(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    scene = Scene()
    await run(scene.lasts("a"), scene.does("b"), closing=(scene.does("close"),))
    assert scene.said == ["a begins", "b", "a ends", "close"]
    assert told(caplog) == ["stopped after a part ended"]


async def test_what_a_part_failed_with_is_raised_when_all_is_closed() -> None:
    scene = Scene()
    with pytest.raises(LookupError):
        await run(
            scene.lasts("a"),
            scene.does("b", LookupError()),
            closing=(scene.does("close 1", ConnectionError()), scene.does("close 2")),
        )
    assert scene.said == ["a begins", "b", "a ends", "close 1", "close 2"]


async def test_a_part_that_fails_as_it_is_cancelled_is_no_success() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise LookupError

    with pytest.raises(LookupError):
        await run(stubborn, lambda: signals(signal.SIGTERM))


async def test_what_cannot_be_closed_is_raised() -> None:
    with pytest.raises(ConnectionError):
        await run(Scene().does("a"), closing=(Scene().does("close", ConnectionError()),))


async def test_where_opening_fails_nothing_is_run_and_all_is_closed() -> None:
    scene = Scene()
    opening = (scene.does("open 1", LookupError()), scene.does("open 2"))
    with pytest.raises(LookupError):
        await run(scene.lasts("a"), opening=opening, closing=(scene.does("close"),))
    assert scene.said == ["open 1", "close"]


async def test_a_signal_ends_opening_too() -> None:
    scene = Scene()
    opening = (lambda: signals(signal.SIGTERM), scene.does("open 2"))
    await run(scene.lasts("a"), opening=opening, closing=(scene.does("close"),))
    assert scene.said == ["close"]


async def test_the_process_has_its_own_signals_back_afterwards() -> None:
    await run(Scene().does("a"))
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


async def test_a_caller_that_is_cancelled_ends_and_closes_all() -> None:
    scene = Scene()
    running = asyncio.create_task(run(scene.lasts("a"), closing=(scene.does("close"),)))
    await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert scene.said == ["a begins", "a ends", "close"]
