"""Batching of fetches: while many records come, the broker is asked to collect them for a moment before it answers.

A fetch that waits for its first record only is answered at each record, which under load is most of the work of broker
and reader. A fetch that always waits for more makes a single record late. So the settings of a consumer change with the
rate of records. aiokafka reads both attributes that are set here at each fetch; neither is public, which is why its
version is pinned.
"""

import time
from typing import Any

WINDOW = 0.1
"""Seconds over which the rate of records is measured."""
MANY = 300
"""Records a second from which on fetches are batched."""
GATHERED_BYTES = 256 << 10
"""A batched fetch is answered as soon as so many bytes are there."""
LONGEST_MS = 100
"""Milliseconds for which a fetch waits for its first record. Not longer: aiokafka leaves a partition out of a fetch
while records of it lie unread, and what comes there meanwhile waits until that fetch is over."""


class FetchBatching:
    """Switches batching on and off for the fetches of one consumer, by the rate of records."""

    def __init__(self, seconds: float) -> None:
        """`seconds` is how long the broker may collect records for a batched fetch."""
        self._wait_ms = int(seconds * 1000)
        self._since = time.monotonic()
        self._count = 0

    def fetched(self, consumer: Any, count: int) -> None:
        """Count the records of a fetch by this aiokafka consumer, and set its batching once a WINDOW."""
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
