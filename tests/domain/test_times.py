"""Times as people write them: each form means one moment, and what is none is told what there is."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.core.times import EARLIEST, FORMS, LATEST, is_relative, parsed, parsed_range

NOW = datetime(2026, 11, 30, 4, 0, tzinfo=UTC)
AT_FOUR = datetime(2026, 11, 29, 16, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-29T16:00:00Z", AT_FOUR),
        ("2026-11-29T16:00:00", AT_FOUR),
        ("2026-11-29t16:00:00z", AT_FOUR),
        ("2026-11-29 16:00", AT_FOUR),
        ("2026-11-29T16:00Z", AT_FOUR),
        ("2026-11-29T18:00:00+02:00", AT_FOUR),
        ("2026-11-29T18:00:00+0200", AT_FOUR),
        ("2026-11-29T18:00:00 02:00", AT_FOUR),
        ("2026-11-29T14:00:00-02:00", AT_FOUR),
        ("2026-11-29T16:00:00.5Z", AT_FOUR + timedelta(seconds=0.5)),
        (" 2026-11-29 ", datetime(2026, 11, 29, tzinfo=UTC)),
        ("1796054400", datetime.fromtimestamp(1796054400, UTC)),
        ("1796054400.25", datetime.fromtimestamp(1796054400.25, UTC)),
        ("now", NOW),
        ("NOW", NOW),
        ("30s", NOW - timedelta(seconds=30)),
        ("5m", NOW - timedelta(minutes=5)),
        ("1h30m", NOW - timedelta(hours=1, minutes=30)),
        ("2d", NOW - timedelta(days=2)),
        ("1w", NOW - timedelta(weeks=1)),
        ("1W2D", NOW - timedelta(days=9)),
    ],
)
def test_every_form_is_read(text: str, expected: datetime) -> None:
    assert parsed(text, NOW) == expected


@pytest.mark.parametrize(
    "text", ["", "yesterday", "z", "1m1h", "5x", "2026-13-01", "2026-11-29T25:00", "20261129T160000Z", "٣d", "-1h"]
)
def test_what_is_no_time_is_told_the_forms(text: str) -> None:
    with pytest.raises(ValueError, match="1h30m") as refused:
        parsed(text, NOW)
    assert FORMS in str(refused.value)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1969-12-31", "99999w", "999999999w"])
def test_what_lies_outside_of_what_can_be_held_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        parsed(text, NOW)


def test_a_time_without_zone_has_the_writers() -> None:
    east = timezone(timedelta(hours=2))
    assert parsed("2026-11-29T18:00", NOW, lambda time: time.replace(tzinfo=east)) == AT_FOUR
    assert parsed("2026-11-29T16:00Z", NOW, lambda time: time.replace(tzinfo=east)) == AT_FOUR


def test_some_times_move_with_the_clock() -> None:
    assert all(map(is_relative, ("now", "1h30m", "1W")))
    assert not any(map(is_relative, ("", "2026-11-29", "1796054400")))


def test_ranges() -> None:
    day, week = timedelta(days=1), timedelta(weeks=1)
    assert parsed_range("1w,1d", NOW) == (NOW - week, NOW - day)
    assert parsed_range("1w,", NOW) == (NOW - week, None)
    assert parsed_range(", now", NOW) == (None, NOW)
    for text in ("", ",", "1w", "1d,1w", "1w,1d,now", "x,"):
        with pytest.raises(ValueError, match="must"):
            parsed_range(text, NOW)


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_a_time_within_limits_or_refused_in_words(text: str) -> None:
    try:
        found = parsed(text, NOW)
    except ValueError:
        return
    assert EARLIEST <= found <= LATEST
    assert found.tzinfo is UTC
