"""Disks that others are copied from, for the check: held for as long as the copy is being made, and no longer."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from domain.copied_disk import CopiedDisk
from domain.core.messages import Key
from domain.volume.state import Volume

if TYPE_CHECKING:
    from cli.check import Observations


def copies(seen: "Observations") -> Iterator[str]:
    """A disk that something is copied from is held by that alone, and a volume's snapshots are those that are of it."""
    holders = dict(seen.holders)
    for key, disk in holders.items():
        for each in disk.copies if isinstance(disk, CopiedDisk) else ():
            copy = holders.get(Key.parse(each))
            # One that failed, and whose undo did, holds it until it is deleted.
            if copy is None or (copy.task is None and copy.current_status != "error"):
                yield f"{key.kind} {key.id} is held for {each}, which is not copied from it"
        for ident in disk.snapshots if isinstance(disk, Volume) else ():
            if Key("volume-snapshot", ident) not in holders:
                yield f"volume {key.id} has snapshot {ident}, which is not there"
