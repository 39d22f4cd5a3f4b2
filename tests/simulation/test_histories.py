"""Whatever users do and whatever breaks: once nothing breaks any more, all comes to rest as it must be."""

import os
import re
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from api.writes.verdicts import Verdicts
from commands.processor import Processor
from commands.timers import Timers
from infra.db.memory import MemoryWriteStore
from projections.projector import Projector
from tests.simulation.cluster import INBOX_KEEP
from tests.simulation.history import WEIGHTS, Action, run, script

ROOT = Path(__file__).parents[2]
TIMERS = 4
"""Among the processes."""
KNOWN = (193,)
"""Seeds that found something once."""

actions = st.builds(
    Action,
    st.sampled_from(sorted(WEIGHTS)),
    st.integers(0, (1 << 16) - 1),
    st.floats(0, 20, allow_nan=False).map(lambda seconds: round(seconds, 3)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(actions, max_size=25), st.integers(0, 1 << 32))
def test_every_history_ends_well(actions: list[Action], seed: int) -> None:
    end = run(actions, seed)
    for line in end.trace:
        note(line)
    assert end.problems == ()


@pytest.mark.parametrize("seed", [*KNOWN, *range(30)])
def test_the_history_of_a_seed_ends_well(seed: int) -> None:
    """Where this fails: python -m tests.simulation --seed SEED."""
    assert run(script(seed), seed).problems == ()


@pytest.mark.parametrize(
    ("part", "method"), [(Projector, "apply"), (Processor, "step"), (Timers, "look"), (Verdicts, "take")]
)
def test_a_process_that_ends_of_what_no_fault_explains_is_told_however_well_all_ends(
    monkeypatch: pytest.MonkeyPatch, part: type[object], method: str
) -> None:
    whole, calls = getattr(part, method), 0

    def fail(*given: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyError("broken")
        return whole(*given)

    monkeypatch.setattr(part, method, fail)
    (problem,) = run(script(1), 1).problems
    assert re.fullmatch(r"\S+ ended of .*KeyError\('broken'\).*", problem)


@pytest.mark.parametrize("seed", range(3))
def test_a_clock_that_jumps_ahead_has_nothing_forgotten_that_may_come_again(seed: int) -> None:
    """The timers look for what is old after ten minutes."""
    boots = [Action("boot", number) for number in range(4)]
    ahead = Action("clock", TIMERS, 2 + INBOX_KEEP / 300)
    end = run([*boots, Action("wait", 0, 20), ahead, Action("wait", 0, 600), *[Action("repeat")] * 9], seed)
    assert end.problems == ()


def test_what_is_old_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the timers look for the first time: a long keeping would only be a long wait."""
    forgotten = []

    async def prune(write_store: MemoryWriteStore, now: datetime, keep: timedelta) -> int:
        forgotten.append(await whole(write_store, now, keep))
        return forgotten[-1]

    whole = MemoryWriteStore.prune
    monkeypatch.setattr(MemoryWriteStore, "prune", prune)
    monkeypatch.setattr("tests.simulation.cluster.INBOX_KEEP", 60.0)
    assert run([Action("boot"), Action("wait", 0, 700)], 1).problems == ()
    assert sum(forgotten) > 5


def test_much_happens_in_them() -> None:
    seen = {action.what for seed in range(300) for action in script(seed)}
    assert seen == set(WEIGHTS)
    ends = [run(script(seed), seed) for seed in range(10)]
    assert sum(end.events for end in ends) > 200
    assert any("acknowledgement was lost" in line for end in ends for line in end.trace)


def test_a_seed_makes_the_same_history_in_every_process() -> None:
    seeds = Random(7).sample(range(1 << 20), 3)
    marked = f"[run(script(seed), seed).mark for seed in {seeds}]"
    code = f"from tests.simulation.history import run, script; print({marked})"
    marks = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": salt},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for salt in ("1", "2")
    }
    assert len(marks) == 1
    assert marks == {f"{[run(script(seed), seed).mark for seed in seeds]}\n"}
