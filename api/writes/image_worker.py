"""The work on images that no request waits for: fetching from a URL, verifying and converting, and giving up.

Why from the read model, again and again: what is to be done follows from an image's status, so work that was cut off
is begun again by whoever looks next, and no image waits for ever. A lock on the image's file keeps two processes from
the same work; a command that is sent twice changes nothing the second time.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

import orjson

from api.http.refusals import ImageBusy, TooLarge
from api.reads.queries import every_document
from api.writes.image_fetch import FetchFailed, FetchRefused, ImageFetcher
from api.writes.image_staging import ImageStaging
from api.writes.image_store import ImageUnusable
from domain.core.errors import NotSupportedYet
from domain.core.messages import Envelope, Key, Topic, derived_id, to_record
from domain.image import (
    COMING,
    ActivateImage,
    BeginImageUpload,
    FailImage,
    Image,
    ImageCommand,
    ImageStatus,
    VerifyImage,
)
from infra.log.log import Log, LogUnavailable
from infra.process import log_context
from infra.process.loops import every
from infra.process.settings import Images
from projections.store.port import Store, StoreUnavailable
from projections.views.view import Condition

logger = logging.getLogger(__name__)

SOURCE = "gostack/images"
LOOK_SECONDS = 1.0
SETTLE_SECONDS = 10.0
"""Seconds for which the read model may not know yet what came of the work on an image."""
SWEPT = 60.0
"""Seconds for which a file has to be untouched until it is deleted with its image's end."""
ATTEMPTS = 3
"""Attempts to fetch an image, by one process."""
PAUSE = 5.0
"""Seconds until the second attempt; doubled at each one."""
TOO_LARGE = "it has more bytes than an image may have"


class ImageWorker:
    """Carries images on, a bounded number at once."""

    def __init__(
        self,
        log: Log,
        store: Store,
        staging: ImageStaging,
        fetcher: ImageFetcher,
        policy: Images,
        clock: Callable[[], datetime],
    ) -> None:
        self._log = log
        self._store = store
        self._staging = staging
        self._fetcher = fetcher
        self._policy = policy
        self._clock = clock
        self._working: dict[str, asyncio.Task[None]] = {}
        self._expected: dict[str, tuple[int, float]] = {}
        """Id of an image -> the version that the commands to it led to, and until when that is waited for, by the event
        loop's time: what the read model has before is no news."""
        self._asked = asyncio.Event()
        self._asked.set()

    def look_soon(self) -> None:
        """Have the next look be at once: an image is complete."""
        self._asked.set()

    async def run(self) -> None:
        """Carry images on until cancelled."""
        failures = (StoreUnavailable, LogUnavailable, OSError, NotSupportedYet)
        try:
            await every(0.0, self._wait_and_look, name="images", failures=failures)
        finally:
            for task in self._working.values():
                task.cancel()
            await asyncio.gather(*self._working.values(), return_exceptions=True)

    async def _wait_and_look(self) -> None:
        """Look once somebody asks for it, or after LOOK_SECONDS, also where the look before failed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await self._asked.wait()
        self._asked.clear()
        await self.look()

    async def look(self) -> None:
        """Begin the work that there is, as much as is allowed, and delete the files of images that need them no more.

        Raises StoreUnavailable, LogUnavailable, OSError.
        """
        now = asyncio.get_running_loop().time()
        kept = self._expected.items()
        self._expected = {ident: each for ident, each in kept if each[1] > now or ident in self._working}
        coming = Condition("status", "in", sorted(COMING))
        async for doc in every_document(self._store, "images", Condition("deleted", "=", False), coming):
            if len(self._working) >= self._policy.workers:
                break
            image = _image(doc)
            if image.id in self._working or doc["version"] < self._expected.get(image.id, (0, 0.0))[0]:
                continue
            self._expect(image.id, doc["version"])
            if await self._stands_still(image):
                await self._fail(image, f"Nothing came of it for {self._policy.upload_timeout:g} s.")
            elif image.status is ImageStatus.VERIFYING or image.url:
                self._begin(image)
        await self._sweep()

    def _begin(self, image: Image) -> None:
        task = asyncio.create_task(self._work(image))
        self._working[image.id] = task

        def end(done: asyncio.Task[None]) -> None:
            del self._working[image.id]
            if not done.cancelled() and (error := done.exception()) is not None:
                # Only that an image has failed could not be said: it is looked at again.
                logger.warning("the end of the work on an image could not be told: %s", error)
            self.look_soon()

        task.add_done_callback(end)

    def _expect(self, ident: str, version: int = 0) -> None:
        """Expect this version of an image, or else one more than before."""
        version = version or self._expected[ident][0] + 1
        self._expected[ident] = (version, asyncio.get_running_loop().time() + SETTLE_SECONDS)

    async def _work(self, image: Image) -> None:
        with log_context.bound(image=image.id):
            try:
                if image.status is not ImageStatus.VERIFYING:
                    await self._fetch(image)
                blob = await self._staging.verify(image)
                await self._send(image, ActivateImage(**blob.document()))
            except ImageUnusable as wrong:
                await self._fail(image, f"The file cannot be used: {wrong}.")
            except (FetchRefused, FetchFailed) as wrong:
                await self._fail(image, f"Nothing could be fetched from the URL: {wrong}.")
            except ImageBusy:
                self._expect(image.id)
            except (LogUnavailable, OSError) as away:
                logger.warning("the work on an image failed, and is tried again: %s", away)
                self._expect(image.id)
            except Exception:
                # The work on other images goes on; this one is looked at again.
                logger.exception("the work on an image failed, and is tried again")
                self._expect(image.id)

    async def _fetch(self, image: Image) -> None:
        """Have all bytes that the image's URL gives. Raises FetchRefused, FetchFailed, ImageUnusable, ImageBusy."""
        await self._send(image, BeginImageUpload())
        pause = PAUSE
        try:
            async with asyncio.timeout(self._policy.fetch_timeout):
                for attempt in range(1, ATTEMPTS + 1):
                    try:
                        size = await self._fetched(image)
                        break
                    except FetchFailed:
                        if attempt == ATTEMPTS:
                            raise
                    await asyncio.sleep(pause)
                    pause *= 2
        except TimeoutError as late:
            raise FetchRefused(f"it took longer than {self._policy.fetch_timeout:g} s") from late
        await self._send(image, VerifyImage(size=size))

    async def _fetched(self, image: Image) -> int:
        most = self._policy.max_size
        await self._staging.restart(image.id)
        async with self._fetcher.fetch(image.url) as answer:
            if answer.size is not None and answer.size > most:
                raise ImageUnusable(TOO_LARGE)
            try:
                size = await self._staging.append(image.id, 0, most, answer.chunks)
            except TooLarge as large:
                raise ImageUnusable(TOO_LARGE) from large
        if answer.size is not None and size != answer.size:
            raise FetchFailed(f"of {answer.size} bytes {size} came")
        return size

    async def _stands_still(self, image: Image) -> bool:
        last = max(image.updated.timestamp(), await self._staging.touched(image.id))
        return self._clock().timestamp() - last > self._policy.upload_timeout

    async def _sweep(self) -> None:
        """Delete files of images that are active, failed, deleted or were never made."""
        for ident in await self._staging.waiting():
            if ident in self._working or time.time() - await self._staging.touched(ident) < SWEPT:
                continue
            found = await self._store.get("images", ident)
            doc: dict[str, Any] = orjson.loads(found.doc) if found else {}
            if not doc or doc["deleted"] or doc["status"] not in COMING:
                await self._staging.discard(ident)

    async def _fail(self, image: Image, why: str) -> None:
        logger.warning("image %s has failed: %s", image.id, why)
        # First, since a failed image may be uploaded again at once.
        await self._staging.discard(image.id)
        await self._send(image, FailImage(failure=why))

    async def _send(self, image: Image, command: ImageCommand) -> None:
        """Put a command on the log. Raises LogUnavailable."""
        self._expect(image.id)
        ident = derived_id(image.id, command.type_name, self._clock().isoformat())
        envelope = Envelope(
            id=ident,
            data=command,
            subject=Key("image", image.id),
            time=self._clock(),
            source=SOURCE,
            correlation=ident,
            project=image.project,
        )
        await self._log.publish([to_record(envelope, Topic.COMMANDS)])


def _image(doc: dict[str, Any]) -> Image:
    return Image.model_validate({**doc, "project": doc["project_id"]})
