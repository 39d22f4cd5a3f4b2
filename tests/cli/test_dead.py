"""gs event dead: listed, shown, retried, dropped."""

import json

import pytest

from tests.cli.conftest import Gs, Service

RECORD = {
    "id": "d",
    "status": "dead",
    "type": "t",
    "subject": "instance/i",
    "place": "gostack.commands:0:1",
    "why": "boom",
}


def test_dead_records_are_listed_in_pages(gs: Gs, service: Service) -> None:
    service.on("GET /v1/events/dead", {"dead": [RECORD], "next": "d"})
    done = gs("event", "dead", "list", "--status", "dead", "--kind", "instance", "--limit", "1")
    assert done.exit_code == 0, done.output
    assert "boom" in done.stdout
    assert "--marker d" in done.stderr
    assert dict(service.asked[0].url.params) == {"status": "dead", "kind": "instance", "limit": "1"}


def test_one_is_shown(gs: Gs, service: Service) -> None:
    service.on("GET /v1/events/dead/d", {**RECORD, "headers": {}, "data": {"a": 1}})
    assert json.loads(gs("event", "dead", "show", "d", "-o", "json").stdout)["data"] == {"a": 1}


@pytest.mark.parametrize("verb", ["retry", "drop"])
def test_something_is_done_about_it(gs: Gs, service: Service, verb: str) -> None:
    service.on(f"POST /v1/events/dead/d/{verb}", {**RECORD, "status": "done"})
    done = gs("event", "dead", verb, "d", "-o", "json")
    assert (done.exit_code, json.loads(done.stdout)["status"]) == (0, "done"), done.output
