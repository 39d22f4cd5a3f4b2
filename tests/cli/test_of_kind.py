"""A kind that has no module of its own on the command line is served by its row."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from cli.gs.groups import OTHERS, of_kinds
from cli.gs.of_kind import app_of
from cli.gs.resources import KINDS
from domain.aggregates import AGGREGATES
from domain.flavor import CreateFlavor, DeleteFlavor, UpdateFlavor
from domain.instance.actions import ACTIONS
from domain.instance.evolve import evolve
from domain.instance.state import Instance
from domain.kind import Kind, ListFilter
from tests.cli.conftest import Service

BOX = Kind(
    name="box",
    help="Things of this test.",
    plural="boxes",
    state=Instance,
    evolve=evolve,
    actions={"stop": ACTIONS["stop"]},
    create=CreateFlavor,
    update=UpdateFlavor,
    delete=DeleteFlavor,
    filters=(ListFilter("zone", "in this zone"),),
    shown=("memory",),
)
IDENT, TASK = "5a3f7c0b-8a07-5f0e-8e41-0f6c6a1d2e33", "7b1e0f54-3f0e-4c9e-8a0e-2f6f5d3c9b21"
DOC = {"id": IDENT, "name": "b", "status": "active", "memory": 1 << 30, "created": "2026-01-01T00:00:00Z", "version": 1}
ENDED = {"id": TASK, "action": "stop", "status": "finished", "steps": ["StopGuest"], "steps_done": 1, "step": ""}


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch, service: Service) -> Iterator[Any]:
    monkeypatch.setitem(AGGREGATES, "box", BOX)
    monkeypatch.setattr("cli.gs.waiting.FIRST_PAUSE", 0.001)

    def run(*words: str) -> Result:
        return CliRunner().invoke(app_of("box"), list(words), obj=httpx.MockTransport(service.handle))

    yield run
    KINDS.pop("box")


def test_the_groups_are_those_of_the_rows() -> None:
    assert dict(of_kinds()) == {kind.name: kind.help for kind in AGGREGATES.values()}
    assert not OTHERS.keys() & AGGREGATES.keys()


def test_a_list_has_the_rows_columns_and_filters(box: Any, service: Service) -> None:
    service.on("GET /v1/boxes", {"boxes": [DOC], "next": None})
    shown = box("list", "--zone", "east", "--project-id", "p")
    assert shown.stdout.splitlines()[0].split() == ["ID", "NAME", "STATUS", "MEMORY", "AGE"]
    assert dict(service.asked[0].url.params).items() >= {"zone": "east", "project_id": "p"}.items()


def test_create_and_update_take_the_fields_of_their_commands(box: Any, service: Service) -> None:
    service.on("POST /v1/boxes", DOC, status=201)
    service.on(f"PATCH /v1/boxes/{IDENT}", DOC)
    assert box("create", "b", "--core", "1", "--memory", "1024").exit_code == 0
    assert service.asked[-1].read() == b'{"core":1,"memory":1024,"name":"b"}'
    assert box("create", "b", "--core", "1").exit_code == 2
    assert box("update", IDENT, "--core", "2").exit_code == 0
    assert service.asked[-1].read() == b'{"core":2}'
    assert box("update", IDENT).exit_code == 2


def test_what_becomes_a_task_is_waited_for(box: Any, service: Service) -> None:
    answer = {"task_id": TASK, "command_id": TASK, "id": IDENT}
    service.on(f"POST /v1/boxes/{IDENT}/actions/stop", answer, status=202)
    service.on(f"DELETE /v1/boxes/{IDENT}", answer, status=202)
    service.on(f"GET /v1/tasks/{TASK}", ENDED)
    service.on(f"GET /v1/boxes/{IDENT}", DOC)
    for words in (("stop", IDENT), ("delete", IDENT)):
        shown = box(*words, "--json")
        assert (shown.exit_code, '"name": "b"' in shown.stdout) == (0, True), shown.output
    service.on(f"GET /v1/tasks/{TASK}", ENDED | {"status": "failed", "fault": {"code": "x", "message": "no"}})
    assert box("stop", IDENT).exit_code == 1
