"""Decisions of a disk that others are copied from: whether a copy may begin, and what waits until it has ended."""

from collections.abc import Callable
from typing import Any

from domain.copied_disk import CopiedDisk, CopyBegun, CopyEnded
from domain.core.errors import InUse
from domain.core.messages import Envelope, Outgoing
from domain.jobs.copy import ReleaseFromCopy, ReleaseSource, ReserveForCopy, ReserveSource, SourceReserved
from domain.tasks.action import TaskRules
from domain.tasks.decide import alive
from domain.tasks.draft import Draft

MOST_COPIES = 16
"""Copies that can be made of a disk at once."""

Require = Callable[[Any], None]
"""Raise the Refusal of a disk that cannot be copied now."""


def must_not_be_copied(disk: CopiedDisk, kind: str) -> None:
    """Raise InUse while something is copied from the disk."""
    if disk.copies:
        others = len(disk.copies) - 1
        user = f"{disk.copies[0].replace('/', ' ')}{f' and {others} more' if others else ''}, which is copied from it"
        raise InUse(kind=kind.capitalize(), id=disk.id, user=user, hint="Wait until the copy is made.")


def reserve(
    draft: Draft[Any], rules: TaskRules[Any], command: ReserveForCopy, envelope: Envelope, require: Require
) -> Outgoing:
    """Hold the disk as it is, and return the answer. `require` raises the Refusal of one that cannot be copied now."""
    disk = alive(draft, rules)
    if command.holder not in disk.copies:
        require(disk)
        if len(disk.copies) >= MOST_COPIES:
            must_not_be_copied(disk, rules.kind)
        draft.emit(CopyBegun(holder=command.holder, at=envelope.time))
    return command.reply.done(ReserveSource.__name__, SourceReserved(hosts=disk.reach))


def release(draft: Draft[Any], command: ReleaseFromCopy, envelope: Envelope) -> Outgoing:
    """Let go of the disk, and return the answer; one that is gone, or was not held, is success."""
    if draft.after is not None and command.holder in draft.after.copies:
        draft.emit(CopyEnded(holder=command.holder, at=envelope.time))
    return command.reply.done(ReleaseSource.__name__)
