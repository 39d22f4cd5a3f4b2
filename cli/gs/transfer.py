"""Files on their way to and from the service, in pieces that go on where a lost connection, or the service's end, has
left them.
"""

import hashlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from cli.gs.call import Call
from cli.gs.client import Client
from cli.gs.columns import bytes_in_words
from cli.gs.problems import GsError, Refused, Unreachable, Usage
from cli.gs.resources import IMAGE
from cli.terminal import echo
from domain.core.text import printable

CHUNK = 1 << 20
PIECE = 16 << 20
"""Bytes of one request: few enough that percents are told, and many enough that the requests cost nothing."""
TRIES = 30
"""Tries without a byte of progress: the service may be started again meanwhile."""
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0
"""Seconds between two of them."""
AGAIN = frozenset({"wrong-offset", "image-busy"})
"""Codes of refusals after which the service is asked how much it has."""
LOOK_SECONDS = 0.5
LINE_SECONDS = 10.0
"""Seconds between two lines of progress where standard error is no terminal."""


class Percent:
    """A display of how much of a file was transferred, on standard error: a line in place, or a line now and then."""

    def __init__(self, label: str, total: int, status: Any, now: Callable[[], float]) -> None:
        self._label, self._total, self._status, self._now = label, total, status, now
        self._told = now()

    def tell(self, done: int) -> None:
        """Show how many bytes were transferred."""
        percent = 100 * done // max(1, self._total)
        line = f"{self._label}: {percent} % ({bytes_in_words(done)} of {bytes_in_words(self._total)})"
        if self._status is not None:
            from rich.text import Text

            self._status.update(Text(printable(line)))
        elif self._now() - self._told >= LINE_SECONDS or done >= self._total:
            self._told = self._now()
            echo(line, err=True)


@contextmanager
def percent(label: str, total: int, now: Callable[[], float] = time.monotonic) -> Iterator[Percent]:
    """Yield the display that fits standard error, a terminal or not."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield Percent(label, total, None, now)
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield Percent(label, total, status, now)


def checksum_of(file: Path) -> str:
    """Return the SHA-256 of a file. Raises Usage where it cannot be read, or is empty."""
    try:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if not file.stat().st_size:
            raise Usage(f"{file} is empty.")
    except OSError as error:
        raise Usage(f"{file} cannot be read: {error.strerror}.") from error
    return digest


def upload(call: Call, ident: str, file: Path) -> None:
    """Send what the service does not have yet of an image's file. Raises GsError."""
    client, size = call.client, file.stat().st_size
    offset, tries, pause = _received(client, ident, size), 0, FIRST_PAUSE
    with percent(f"{file.name}: uploaded", size) as shown:
        while offset < size:
            try:
                reached = _send(client, ident, file, offset, size)
            except GsError as problem:
                tries += 1
                if tries == TRIES or not (isinstance(problem, Unreachable) or problem.code in AGAIN):
                    raise
                client.pause(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                try:
                    reached = _received(client, ident, size)
                except Unreachable:
                    continue
            if reached > offset:
                tries, pause = 0, FIRST_PAUSE
            offset = reached
            shown.tell(offset)


def _send(client: Client, ident: str, file: Path, offset: int, size: int) -> int:
    """Send the piece at this offset, and return how many bytes the service has then. Raises GsError."""
    length = min(PIECE, size - offset)
    content = partial(_part, file, offset, length)
    answer = client.piece(IMAGE.path(ident, "file"), {"offset": str(offset), "size": str(size)}, content, length)
    return int(answer.get("received") or 0)


def _received(client: Client, ident: str, size: int) -> int:
    """Return how many bytes the service has; all where it takes none any more. Raises GsError."""
    answer = client.get(IMAGE.path(ident, "upload"))
    if answer.get("status") in ("verifying", "active"):
        return size
    received = int(answer.get("received") or 0)
    if received > size:
        raise Refused(f"The service has {received} bytes of the image, and the file has {size}.")
    return received


def _part(file: Path, offset: int, length: int) -> Iterator[bytes]:
    try:
        with file.open("rb") as stream:
            stream.seek(offset)
            while length and (chunk := stream.read(min(CHUNK, length))):
                length -= len(chunk)
                yield chunk
    except OSError as error:
        raise Usage(f"{file} cannot be read: {error.strerror}.") from error


def verified(call: Call, ident: str) -> dict[str, Any]:
    """Wait until an image is active, and return it. Raises Refused where it has failed, TimedOut, GsError."""
    tries = 0
    while True:
        try:
            answer = call.client.get(IMAGE.path(ident))
        except Unreachable:
            # It goes on by itself, once the service is back.
            tries += 1
            if tries == TRIES:
                raise
            call.client.pause(LONGEST_PAUSE)
            continue
        tries = 0
        image = answer.body if isinstance(answer.body, dict) else {}
        if image.get("status") == "active":
            return image
        if image.get("status") == "failed":
            raise Refused(f"Image {ident} has failed. {image.get('failure', '')}", "gs image delete removes it.")
        call.client.pause(LOOK_SECONDS)


def download(client: Client, image: dict[str, Any], file: Path) -> None:
    """Fetch what is not there yet of an image's file, and give it its name once its checksum is right.

    Raises GsError; Refused where other bytes came.
    """
    part = file.with_name(f"{file.name}.part")
    size, tries, pause = int(image["size"]), 0, FIRST_PAUSE
    with percent(f"{file.name}: downloaded", size) as shown:
        while (begin := part.stat().st_size if part.exists() else 0) < size:
            try:
                _fetch(client, image["id"], part, begin, shown)
            except Unreachable:
                if tries + 1 == TRIES:
                    raise
            if part.exists() and part.stat().st_size > begin:
                tries, pause = 0, FIRST_PAUSE
                continue
            tries += 1
            client.pause(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
    with part.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != image["checksum"]:
        part.unlink()
        raise Refused(f"Other bytes came than the image has: their SHA-256 is {digest}, and not {image['checksum']}.")
    part.replace(file)


def _fetch(client: Client, ident: str, part: Path, begin: int, shown: Percent) -> None:
    """Append to a file what the service sends of an image from `begin` on. Raises GsError."""
    with client.fetch(IMAGE.path(ident, "file"), begin=begin) as chunks, part.open("ab") as target:
        done = begin
        for chunk in chunks:
            target.write(chunk)
            done += len(chunk)
            shown.tell(done)
