"""Bytes of images that nothing refers to any more: which they are, and their removal from the image store.

What refers to bytes follows from the log alone, by the read models: an image that is not deleted, an instance that is
not, a volume that is being made of an image, an upload of a task. That a host, or anybody else, says nothing is no
reason. What nothing refers to is marked first, and goes once it was found so for as long as `images.unused_keep`; read
models that are behind tell nothing.
"""

import asyncio
import logging
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from api.reads.queries import every_document
from api.writes.image_store import ImageStore
from domain.volume.actions import CREATE
from infra.process.settings import Images
from projections.store.port import Store
from projections.views.view import Condition, Query

logger = logging.getLogger(__name__)

CHECKSUM = re.compile(r"[0-9a-f]{64}")
GONE = "deleted"
"""State of an instance of which nothing is left."""


@dataclass(frozen=True)
class Unused:
    """A file of the image store that nothing refers to."""

    checksum: str
    size: int
    """Bytes of the file."""
    seconds: float
    """Seconds since nothing was found to refer to it."""
    goes: bool
    """Whether that is long enough for it to be deleted."""


async def gone(store: Store, checksums: Sequence[str], now: datetime, keep: float) -> list[str]:
    """Return those of the checksums that only images had which have been deleted for `keep` seconds, that no instance
    is made of, and that no volume is being made of. A checksum that no image ever had is not among them. Raises
    StoreUnavailable.
    """
    found = []
    copied = await _being_copied(store) if checksums else set()
    for checksum in checksums:
        if checksum in copied:
            continue
        images = [each async for each in every_document(store, "images", Condition("checksum", "=", checksum))]
        if images and all(_is_over(each, now, keep) for each in images):
            used = [await _has_instances(store, each["id"]) for each in images]
            if not any(used):
                found.append(checksum)
    return found


async def _has_instances(store: Store, image_id: str) -> bool:
    where = (Condition("image_id", "=", image_id), Condition("vm_state", "!=", GONE))
    return bool((await store.page("instances", Query(where=where, limit=1))).docs)


async def _being_copied(store: Store) -> set[str]:
    """Return the checksums of the images that volumes are being made of: one that is made needs its image no more."""
    making = Condition("status", "=", CREATE.during)
    volumes = [each async for each in every_document(store, "volumes", making)]
    return {each["image"]["checksum"] for each in volumes if each.get("image")}


async def used(store: Store, now: datetime, keep: float) -> set[str]:
    """Return the checksums that an image has, an instance is made of, the disk of a shelved one is kept as, or a volume
    is being made of; what was deleted counts for `keep` seconds more. Raises StoreUnavailable."""
    found = {each["checksum"] async for each in every_document(store, "images") if not _is_over(each, now, keep)}
    async for instance in every_document(store, "instances"):
        if not _is_over(instance, now, keep):
            found.add(instance["image"]["checksum"])
            if own := instance.get("disk_image"):
                found.add(own["checksum"])
    return found | await _being_copied(store)


def _is_over(doc: dict[str, Any], now: datetime, keep: float) -> bool:
    deleted = doc["deleted"]
    return deleted is not None and now - datetime.fromisoformat(deleted) >= timedelta(seconds=keep)


class ImageGarbage:
    """Removes what nothing refers to from an image store."""

    def __init__(self, images: ImageStore, store: Store, policy: Images) -> None:
        self._images = images
        self._store = store
        self._policy = policy

    async def collect(self, now: datetime, *, dry_run: bool = False) -> list[Unused]:
        """Mark what nothing refers to, and delete what has been marked for long enough; with `dry_run`, change nothing.

        Returns all that nothing refers to, as it was found. Raises StoreUnavailable, NotSupportedYet, OSError.
        """
        keep = self._policy.unused_keep
        referred = await used(self._store, now, keep)
        return await asyncio.to_thread(self._sweep, referred, keep, dry_run)

    def _sweep(self, referred: set[str], keep: float, dry_run: bool) -> list[Unused]:
        directory = self._images.directory()
        marks = directory / "unused"
        referred = referred | set(_noted(directory / "uploads", keep))
        if not dry_run:
            marks.mkdir(parents=True, exist_ok=True)
        found = []
        for file in sorted(directory.glob("*")):
            if not CHECKSUM.fullmatch(file.name):
                continue
            mark = marks / file.name
            if file.name in referred:
                if not dry_run:
                    mark.unlink(missing_ok=True)
                continue
            unused = _unused(file, mark, keep)
            found.append(unused)
            if dry_run:
                continue
            if unused.goes:
                file.unlink(missing_ok=True)
                mark.unlink(missing_ok=True)
                logger.info("the bytes %s were deleted: nothing refers to them", file.name)
            elif not mark.exists():
                mark.touch()
        return found


def _unused(file: Path, mark: Path, keep: float) -> Unused:
    told = file.stat()
    # Bytes that came again since are as new ones: an image of them may be on its way.
    since = max(mark.stat().st_mtime, told.st_mtime) if mark.exists() else time.time()
    seconds = max(0.0, time.time() - since)
    return Unused(file.name, told.st_size, seconds, mark.exists() and seconds >= keep)


def _noted(uploads: Path, keep: float) -> Iterable[str]:
    """Yield the checksums of files that a task has uploaded, and that an image may be made of yet."""
    for note in uploads.glob("*.task"):
        if time.time() - note.stat().st_mtime < keep:
            yield note.read_text()
