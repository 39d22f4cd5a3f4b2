"""The event stream: read as the standard says, and gone on with where it broke off."""

import json
from datetime import datetime, timedelta

import httpx
import pytest

from cli.gs.sse import Sent, parse
from tests.cli.conftest import Gs, Service


def test_events_are_read_as_the_standard_says() -> None:
    lines = [": ping", "", "id: 1", "event: fact", "data: a", "data:b", "", "data:  c", "retry: 5", "", "id: 3", ""]
    assert list(parse(lines)) == [
        Sent("1", "fact", "a\nb"),
        Sent("1", "message", " c"),
        Sent("3", "message", ""),
    ]


def stream(*idents: str) -> httpx.Response:
    text = "".join(f"id: {each}\ndata: {json.dumps({'id': each, 'type': 'gostack.x.v1'})}\n\n" for each in idents)
    return httpx.Response(200, text=text, headers={"content-type": "text/event-stream"})


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.gs.sse.FIRST_PAUSE", 0.001)


@pytest.mark.usefixtures("quick")
def test_a_broken_stream_goes_on_after_the_last_event(gs: Gs, service: Service) -> None:
    error = httpx.ReadError("reset")
    service.on("GET /v1/events/stream", stream("1", "2"), error, stream("3"), error)
    shown = gs("event", "follow", "--from", "beginning", "-o", "json")
    assert [json.loads(line)["id"] for line in shown.stdout.splitlines()] == ["1", "2", "3"]
    assert shown.exit_code == 5
    assert "broke off" in shown.stderr
    last = [request.headers.get("Last-Event-ID") for request in service.asked]
    assert last[:4] == [None, "2", "2", "3"]
    assert shown.stderr.splitlines()[0] == "To continue from here: --from 3"
    assert {request.url.params["from"] for request in service.asked} == {"beginning"}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("form", ["table", "yaml", "csv", "value"])
def test_each_format_is_written_event_by_event(gs: Gs, service: Service, form: str) -> None:
    service.on("GET /v1/events/stream", stream("1"), httpx.ReadError("reset"))
    assert "gostack.x.v1" in gs("event", "follow", "-o", form).stdout


@pytest.mark.usefixtures("quick")
def test_a_stream_that_ends_is_not_gone_on_with(gs: Gs, service: Service) -> None:
    text = 'id: 1\ndata: {"id": "1"}\n\nid: 2\nevent: end\ndata: {}\n\n'
    service.on("GET /v1/events/stream", httpx.Response(200, text=text))
    shown = gs("event", "follow", "--since", "2h", "--until", "1h", "--type", "instance.*", "-o", "json")
    assert shown.exit_code == 0, shown.output
    assert [json.loads(line)["id"] for line in shown.stdout.splitlines()] == ["1"]
    assert shown.stderr.splitlines() == ["To continue from here: --from 2"]
    (asked,) = service.asked
    since, until = (datetime.fromisoformat(asked.url.params[name]) for name in ("since", "until"))
    assert until - since == pytest.approx(timedelta(hours=1), abs=timedelta(seconds=30))
    assert "from" not in asked.url.params


def test_an_event_whose_writing_was_interrupted_is_told_again(
    gs: Gs, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(text: str) -> None:
        if '"2"' in text:
            raise KeyboardInterrupt

    monkeypatch.setattr("cli.gs.event.write", interrupted)
    service.on("GET /v1/events/stream", stream("1", "2", "3"))
    assert "To continue from here: --from 1\n" in gs("event", "follow", "-o", "json").stderr


def test_what_only_unicode_calls_a_lines_end_ends_none(gs: Gs, service: Service) -> None:
    text = 'id: 1\r\ndata: {"id": "1",\r\ndata:  "name": "a\u2028b\x85c"}\r\n\r\nid: 2\nevent: end\ndata: {}\n\n'
    content = iter([text.encode()[start : start + 7] for start in range(0, len(text.encode()), 7)])
    service.on("GET /v1/events/stream", httpx.Response(200, content=content))
    shown = gs("event", "follow", "-o", "json")
    assert shown.exit_code == 0, shown.output
    assert [json.loads(line)["name"] for line in shown.stdout.split("\n") if line] == ["a\u2028b\x85c"]


def test_a_page_that_looked_and_found_nothing_is_not_the_end(gs: Gs, service: Service) -> None:
    service.on("GET /v1/events", {"events": [], "next": "e"})
    shown = gs("event", "list", "--actor", "ann", "--since", "1d")
    assert shown.exit_code == 0
    assert "None so far, and there is more to look at: --marker e" in shown.stderr
    assert dict(service.asked[0].url.params) == {"actor": "ann", "since": "1d"}
