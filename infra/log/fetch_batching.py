"""Fetches that gather: while many records come, the broker is asked to let them come together for a moment.

A fetch that waits for its first record only is answered at each record: under load that is most of what broker and
reader do, and nobody has anything of it. One that always waits costs the same while nothing happens, and makes the
lonely record late. So it is changed as records come. aiokafka reads both of these attributes at each fetch; neither is
public, which is why its version is pinned.
"""

import time
from typing import Any

WINDOW = 0.1
"""Seconds after which it is looked at anew."""
MANY = 300
"""Records a second from which fetches gather."""
GATHERED_BYTES = 256 << 10
"""A fetch that has so much does not wait for more."""
LONGEST_MS = 100
"""Milliseconds for which a fetch waits for its first record. Not longer: aiokafka leaves a partition out of a fetch
while records of it lie unread, and what comes there meanwhile waits until that fetch is over."""


class FetchBatching:
    """How one consumer's fetches are."""

    def __init__(self, seconds: float) -> None:
        self._wait_ms = int(seconds * 1000)
        self._since = time.monotonic()
        self._count = 0

    def fetched(self, consumer: Any, count: int) -> None:
        """So many records came to this aiokafka consumer, or none in the time that it was given."""
        self._count += count
        took = time.monotonic() - self._since
        if took < WINDOW:
            return
        many = self._count >= MANY * took
        self._since += took
        self._count = 0
        fetcher = consumer._fetcher
        fetcher._fetch_min_bytes = GATHERED_BYTES if many else 1
        fetcher._fetch_max_wait_ms = self._wait_ms if many else LONGEST_MS
