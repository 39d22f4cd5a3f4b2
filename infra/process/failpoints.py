"""Failpoints: named places in the code at which a test can kill or stop the process, as a power cut would.

Why in the product: tests prove on the very code that runs in production that nothing is lost or done twice, wherever a
process dies on the way of a command. `GOSTACK_FAILPOINTS=POINT[:N[:FILE]]` kills the process (SIGKILL) when it passes
the point for the Nth time. With FILE this happens only once, however often the process is started: the file is created
then, and switches the failpoint off. `stop@POINT` stops the process (SIGSTOP) until it gets SIGCONT. Several are
separated by commas. Without the variable a failpoint costs a comparison.
"""

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

VARIABLE = "GOSTACK_FAILPOINTS"
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
    "timers-looked": "deadlines that passed are known, and no command is published",
    "timers-told": "the commands for deadlines that passed are published",
    "api-named": "a request has its command id, and the command is not on the log",
    "api-sent": "the command is on the log, and the client has no answer",
    "api-answered": "the verdict is known, and the client has no answer",
    "agent-fetched": "jobs were fetched, and are not in the journal",
    "agent-accepted": "jobs are in the journal, and none has begun",
    "abort-noted": "the journal knows what is to be stopped, and it runs or waits",
    "abort-stopped": "a job of a dispatch that is to be stopped has ended without success, and nobody was told",
    "agent-acting": "before the hypervisor is asked",
    "agent-acted": "the hypervisor has done the job, and the journal does not say so",
    "agent-noted": "the journal says that the job is done",
    "agent-answering": "before the answer is sent",
    "agent-answered": "the answer is on the log, and the journal does not say so",
    "disk-half-sent": "a part of a disk was sent to the host that fetches it",
    "disk-half-fetched": "a part of a disk came from another host, or was sent to the image store, and no more",
    "libvirt-volume-made": "a volume's file is made beside its place, and has not its name yet",
    "ceph-image-made": "a volume's image is made in a Ceph cluster, and the caller has no answer",
    "libvirt-volume-copied": "a volume's file or image is a copy beside its place, and has not its name yet",
    "libvirt-volume-extended": "a volume is larger, and the caller has no answer",
    "libvirt-disk-copied": "a root disk is copied beside itself, and both have their old names",
    "libvirt-disk-aside": "a root disk is put aside, and its copy has not its name yet",
    "libvirt-disk-grown": "a root disk is larger, and the caller has no answer",
    "libvirt-device-attached": "a guest has a device as it runs, or in its definition, and the caller has no answer",
    "libvirt-device-released": "a guest has let go of a device, and its definition has it",
    "libvirt-disk-made": "a guest has a disk, and libvirt does not know the guest",
    "libvirt-disk-received": "a disk from another host is whole, and has no name yet",
    "libvirt-disk-unpacked": "a disk is made of an image of a disk, and has no name yet",
    "image-piece": "a part of an image's piece is on disk, and the rest is awaited",
    "image-verified": "an image was found to be good, and is not in the store under its checksum yet",
    "capture-made": "the copy of a disk is made, and nothing of it is sent",
    "libvirt-half-plugged": "the host keeps a guest's addresses, and its networks are not there yet",
    "libvirt-defined": "libvirt knows the guest, and the caller has no answer",
    "libvirt-starting": "a guest's networks were looked at, and it is off",
    "libvirt-started": "the guest runs, and the caller has no answer",
    "libvirt-destroyed": "the guest that is to be undefined is off, and still defined",
    "libvirt-undefined": "libvirt has undefined the guest, and the caller has no answer",
    "libvirt-half-unplugged": "a guest may send nothing any more, and the host keeps its addresses",
    "libvirt-disk-gone": "a guest's directory is removed, and the caller has no answer",
    "projector-fetched": "events were fetched",
    "projector-folded": "rows are made, and not written",
    "projector-written": "rows are written in the transaction, and not committed",
    "projector-applied": "rows and positions are committed",
    "rebuild-renamed": "new read models have the name of those that serve, in a transaction that is open",
    "archive-taken": "a segment's records are taken, and it has no name",
    "archive-named": "a segment has its name, and is in no manifest",
    "archive-saved": "the manifest is saved, and files that it does without are still there",
    "restore-filled": "fillers are on the log for offsets without a record in the archive, and its end is not checked",
    "restore-put": "some of the archive's records are on the log",
}


class Failpoint:
    """A point of the code at which this process is to be killed or stopped."""

    def __init__(self, text: str) -> None:
        """Parse `POINT[:N[:FILE]]` or `stop@POINT[:N[:FILE]]`. Raises ValueError for any other text."""
        wanted, _, rest = text.partition(":")
        self.point = wanted.removeprefix(STOP)
        self._sign = signal.SIGSTOP if wanted.startswith(STOP) else signal.SIGKILL
        number, _, self._file = rest.partition(":")
        if self.point not in POINTS:
            raise ValueError(f"{VARIABLE}: {self.point!r} is no failpoint; there are {', '.join(POINTS)}")
        self._left = int(number or 1)

    def passed(self) -> None:
        """Count that the process passes the point; at the Nth time the process gets the signal."""
        if self._file and Path(self._file).exists():
            return
        self._left -= 1
        if self._left == 0:
            if self._file:
                Path(self._file).touch(exist_ok=False)
            os.kill(os.getpid(), self._sign)


def parse(text: str) -> dict[str, Failpoint]:
    """Parse a value of the variable into failpoints by name. Raises ValueError for one that does not exist."""
    return {each.point: each for each in map(Failpoint, filter(None, text.split(",")))}


_failpoints = parse(os.environ.get(VARIABLE, ""))


def halves(name: str, things: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield all of `things` at once; or, where the failpoint `name` is set, one half, pass the point, and the other
    half."""
    if name not in _failpoints:
        yield things
        return
    half = (len(things) + 1) // 2
    yield things[:half]
    point(name)
    if things[half:]:
        yield things[half:]


def point(name: str) -> None:
    """Pass the failpoint `name`: where it is set, the process may be killed or stopped here."""
    if _failpoints and name in _failpoints:
        _failpoints[name].passed()
