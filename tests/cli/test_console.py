"""The guest's console log, as it grows."""

import httpx
import pytest

from cli.gs.console import new
from tests.cli.conftest import Gs, Service

PATH = "GET /v1/instances/aaaaaaaa-0000-0000-0000-000000000000/console-log"


@pytest.mark.parametrize(
    ("seen", "now", "expected"),
    [
        ("", "", ""),
        ("", "a\n", "a\n"),
        ("a\n", "a\nb\n", "b\n"),
        ("x" * 50 + "a\n", "a\n", "a\n"),
        ("old" + "y" * 2000, "y" * 1000 + "z", "z"),
        ("booted\n", "anew\n", "anew\n"),
    ],
)
def test_only_what_is_new_is_printed(seen: str, now: str, expected: str) -> None:
    assert new(seen, now) == expected


def test_it_is_printed_as_it_is(gs: Gs, service: Service) -> None:
    service.on(PATH, httpx.Response(200, text="\x1b[1mboot\r\nlogin:"))
    shown = gs("instance", "log", "aaaaaaaa-0000-0000-0000-000000000000", "--length", "9")
    assert shown.stdout_bytes == b"\x1b[1mboot\r\nlogin:\n"
    assert service.asked[0].url.params["lines"] == "9"


def test_following_goes_on_until_the_time_is_over(gs: Gs, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.gs.console.FOLLOW_PAUSE", 0.01)
    texts = [httpx.Response(200, text=text) for text in ("a\n", "a\nb\n", "a\nb\nc\n")]
    service.on(PATH, *texts, httpx.Response(200, text="a\nb\nc\n"))
    shown = gs("instance", "log", "aaaaaaaa-0000-0000-0000-000000000000", "--follow", "--timeout", "0.3")
    assert (shown.exit_code, shown.stdout) == (124, "a\nb\nc\n")
