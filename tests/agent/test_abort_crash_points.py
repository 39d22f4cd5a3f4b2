"""An agent dies in the middle of an abort: the next one begins nothing of what was to be stopped, and answers.

Why not with the other points of the agent: what is under load there is never stopped.
"""

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from agent.runner.journal import Journal
from domain.core.messages import named_id
from domain.tasks.job import JOBS
from infra.process.failpoints import POINTS, VARIABLE
from tests.agent.bench import HOST, abort_record, dispatch, ident, job_record, outcomes
from tests.agent.site import Site, running

LATER = replace(HOST, id=named_id("host", "h1"), name="h1", partition=0, epoch=9)
"""Of an epoch that no restart comes to: an older one would keep the job from beginning already."""
REBOOT = dispatch(1, 1, "RebootGuest", host=LATER)


async def stop_in_the_middle(path: Path) -> None:
    """Have a job stopped while it runs."""
    site = Site(path)
    site.drivers["h1"].hold("RebootGuest", ident(1))
    async with running(site), site.working():
        await site.world.log.publish([job_record(REBOOT, LATER)])
        await site.until(lambda: site.drivers["h1"].began("RebootGuest"))
        await site.world.log.publish([abort_record(REBOOT, LATER)])
        await site.until(lambda: site.answers(REBOOT.dispatch_id))


def dies(path: Path, point: str) -> None:
    """A process of its own is told to stop the job, and dies at the point."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.agent.test_abort_crash_points", str(path)],
        env={**os.environ, VARIABLE: point},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("point", [each for each in POINTS if each.startswith("abort-")])
async def test_an_agent_dies_at(point: str, tmp_path: Path) -> None:
    await asyncio.to_thread(dies, tmp_path, point)
    journal = Journal(tmp_path / "journal.db")
    assert (journal.aborted(), set(journal.pending())) == ({REBOOT.dispatch_id}, {REBOOT.dispatch_id})
    journal.close()
    site = Site(tmp_path)
    async with running(site), site.working() as service:
        await site.until(lambda: site.answers(REBOOT.dispatch_id) and not service._journal.pending())
        assert service._journal.aborted() == set()
    (answer,) = site.answers(REBOOT.dispatch_id)
    assert outcomes(answer) == [("RebootGuest", "aborted")]
    assert site.drivers["h1"].calls == []


if __name__ == "__main__":
    JOBS["RebootGuest"].abortable = True  # type: ignore[attr-defined]
    asyncio.run(stop_in_the_middle(Path(sys.argv[1])))
