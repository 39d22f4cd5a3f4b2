"""Named places at which a process can be made to die, as if somebody had pulled the plug just there.

Why in the product: that nothing is lost or done twice is proven at each line of the way of a command, on the very
code that runs. `GOSTACK_CRASH=POINT[:N[:FILE]]` kills the process (SIGKILL) when it passes the point for the Nth time;
with FILE only once, however often it is started: the file is made then. `stop@POINT` makes it stand still instead
(SIGSTOP), until it gets SIGCONT. Several are separated by commas. Without the variable a point costs a comparison.
"""

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

VARIABLE = "GOSTACK_CRASH"
STOP = "stop@"

POINTS = {
    "step-fetched": "engine, scheduler: records were fetched, nothing was done",
    "step-moved": "positions are moved and aggregates read, in a transaction that is open",
    "step-stored": "all is written in the transaction, and not committed",
    "step-committed": "the transaction is committed, nothing is published",
    "step-half-published": "of the records of one publication half are on the log",
    "step-published": "all is published, and still in the outbox",
    "step-done": "the outbox is empty",
    "assigned-published": "what an earlier owner left in the outbox is published again, and still there",
    "timers-looked": "what is due is known, and nobody was told",
    "timers-told": "whom it concerns was told",
    "api-named": "a request has its command, which is not on the log",
    "api-sent": "the command is on the log, and the client knows nothing",
    "api-answered": "the verdict is known, and the client knows nothing",
    "agent-fetched": "jobs were fetched, and are not in the journal",
    "agent-accepted": "jobs are in the journal, and none has begun",
    "abort-noted": "the journal knows what is to be stopped, and it runs or waits",
    "abort-stopped": "a job of a dispatch that is to be stopped has ended without success, and nobody was told",
    "agent-acting": "before the hypervisor is asked",
    "agent-acted": "the hypervisor has done it, and the journal does not know",
    "agent-noted": "the journal knows what was done",
    "agent-answering": "before the answer is sent",
    "agent-answered": "the answer is on the log, and the journal does not know",
    "libvirt-disk-made": "a guest has a disk, and libvirt does not know it",
    "libvirt-half-plugged": "a guest's networks are there, and its addresses are not",
    "libvirt-defined": "libvirt knows the guest, and nobody was told",
    "libvirt-starting": "a guest's networks were looked at, and it is off",
    "libvirt-started": "the guest runs, and nobody was told",
    "libvirt-destroyed": "the guest that is to be forgotten is off, and still defined",
    "libvirt-undefined": "libvirt has forgotten the guest, and nobody was told",
    "libvirt-half-unplugged": "a guest's addresses are taken away, and its networks are there",
    "libvirt-disk-gone": "a guest's directory is removed, and nobody was told",
    "projector-fetched": "events were fetched",
    "projector-folded": "rows are made, and not written",
    "projector-written": "rows are written in the transaction, and not committed",
    "projector-applied": "rows and positions are committed",
    "rebuild-renamed": "new read models have the name of those that serve, in a transaction that is open",
    "archive-taken": "a segment's records are taken, and it has no name",
    "archive-named": "a segment has its name, and is in no manifest",
    "archive-saved": "the manifest is saved, and files that it does without are still there",
    "restore-filled": "positions without a record in the archive are held by fillers, and nobody looked at them",
    "restore-put": "some of the archive's records are on the log",
}


class Wish:
    """One point at which to die, or to stand still."""

    def __init__(self, text: str) -> None:
        """Raises ValueError for what is no wish."""
        wanted, _, rest = text.partition(":")
        self.point = wanted.removeprefix(STOP)
        self._sign = signal.SIGSTOP if wanted.startswith(STOP) else signal.SIGKILL
        number, _, self._file = rest.partition(":")
        if self.point not in POINTS:
            raise ValueError(f"{VARIABLE}: {self.point!r} is no crash point; there are {', '.join(POINTS)}")
        self._left = int(number or 1)

    def passed(self) -> None:
        """The point is passed."""
        if self._file and Path(self._file).exists():
            return
        self._left -= 1
        if self._left == 0:
            if self._file:
                Path(self._file).touch(exist_ok=False)
            os.kill(os.getpid(), self._sign)


def wishes(text: str) -> dict[str, Wish]:
    """What a value of the variable asks for. Raises ValueError."""
    return {wish.point: wish for wish in map(Wish, filter(None, text.split(",")))}


_wishes = wishes(os.environ.get(VARIABLE, ""))


def parted(name: str, things: Sequence[T]) -> Iterator[Sequence[T]]:
    """All of them at once; or, where this process is to die at the point, one half, the point, and the other half."""
    if name not in _wishes:
        yield things
        return
    half = (len(things) + 1) // 2
    yield things[:half]
    point(name)
    if things[half:]:
        yield things[half:]


def point(name: str) -> None:
    """The process is at this point now."""
    if _wishes and name in _wishes:
        _wishes[name].passed()
