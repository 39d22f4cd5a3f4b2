"""Times as people write them: one parser for every parameter of the API and every option of `gs`.

Why one: a form that one of them takes has to mean the same to all. What differs is the zone of a time that names none,
so the caller says it: the API means UTC, a terminal its own zone.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

FORMS = (
    "a time (2026-01-31T12:00:00Z, with or without zone), a date (2026-01-31: its first moment), seconds since 1970, "
    "now, or how long ago (30s, 1h30m, 2d, 1w)"
)
"""Every form of a time, for descriptions and refusals."""
RANGE_FORMS = f"FROM,TO, of which one may be empty; each is {FORMS}"
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 1, 1, tzinfo=UTC)
"""Limits of a time that is asked for: the database and the log hold more, and so some room for sums is left."""
NOW = "now"
_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_AGO = re.compile("".join(rf"(?:(?P<{name}>\d{{1,9}}){unit})?" for unit, name in _UNITS.items()), re.ASCII)
_SECONDS = re.compile(r"\d{1,11}(\.\d{1,9})?", re.ASCII)
_DATED = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?( ?Z|[ +-]\d\d:?\d\d)?)?", re.ASCII)

Placed = Callable[[datetime], datetime]
"""A function that gives a time without zone the zone that its writer means."""


def in_utc(time: datetime) -> datetime:
    """Return a time without zone as one in UTC."""
    return time.replace(tzinfo=UTC)


def parsed(text: str, now: datetime, placed: Placed = in_utc) -> datetime:
    """Return the time, in UTC, that a text means at the moment `now`. Raises ValueError, which lists the forms."""
    try:
        time = _of(text.strip().upper(), now, placed)
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(f"it must be {FORMS}") from error
    if not EARLIEST <= time <= LATEST:
        raise ValueError(f"it must lie between {EARLIEST:%Y-%m-%d} and {LATEST:%Y-%m-%d}")
    return time


def is_relative(text: str) -> bool:
    """Return whether a text means another time at every moment: now, or how long ago."""
    return text.strip().lower() == NOW or bool(text.strip() and _AGO.fullmatch(text.strip().lower()))


def parsed_range(text: str, now: datetime, placed: Placed = in_utc) -> tuple[datetime | None, datetime | None]:
    """Return both ends of a range, FROM,TO; None for an end that is empty. Raises ValueError, which lists the forms."""
    begin, comma, end = (part.strip() for part in text.partition(","))
    if not comma or not (begin or end) or "," in end:
        raise ValueError(f"it must be {RANGE_FORMS}")
    since = parsed(begin, now, placed) if begin else None
    until = parsed(end, now, placed) if end else None
    if since is not None and until is not None and until < since:
        raise ValueError("its end must not be before its beginning")
    return since, until


def _of(text: str, now: datetime, placed: Placed) -> datetime:
    if is_relative(text):
        ago = _AGO.fullmatch(text.lower())
        return now - timedelta(
            **{unit: int(count) for unit, count in ago.groupdict(default="0").items()} if ago else {}
        )
    if _SECONDS.fullmatch(text):
        return datetime.fromtimestamp(float(text), UTC)
    if not _DATED.fullmatch(text):
        raise ValueError(text)
    # A plus that was not quoted in a query string arrives as a space.
    text = re.sub(r" (\d\d:?\d\d)$", r"+\1", text) if len(text) > len("2026-01-31 12:00") else text
    time = datetime.fromisoformat(text.replace(" Z", "Z"))
    return (time if time.tzinfo else placed(time)).astimezone(UTC)
