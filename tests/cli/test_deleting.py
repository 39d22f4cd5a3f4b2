"""A delete for good is asked about where somebody can answer, and only there."""

from collections.abc import Callable

import pytest

from cli.gs import verbs
from tests.cli.conftest import Gs, Service

IDENT = "aaaaaaaa-0000-0000-0000-000000000000"
PATH = f"/v1/instances/{IDENT}"
WEB = {"id": IDENT, "name": "web", "status": "active", "host": {"name": "h1"}, "addresses": ["10.0.0.1"]}
GONE = WEB | {"status": "deleted", "deleted": "2026-01-01T00:00:00Z", "nics": [], "metadata": {"a": "b"}}


@pytest.fixture
def there(service: Service) -> Service:
    service.on(f"POST {PATH}/actions/hard-delete", {"already": True, "command_id": IDENT, "message": "Done."})
    service.on(f"POST {PATH}/actions/delete", {"already": True, "command_id": IDENT, "message": "Done."})
    service.on(f"GET {PATH}", WEB, GONE)
    return service


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], list[str]]:
    """Somebody at a terminal, who says yes or no; what they were asked."""

    def at_terminal(says: bool) -> list[str]:
        asked: list[str] = []

        def confirm(question: str, err: bool) -> bool:
            asked.append(question)
            return says

        monkeypatch.setattr(verbs, "at_terminal", lambda: True)
        monkeypatch.setattr("typer.confirm", confirm)
        return asked

    return at_terminal


def writes(service: Service) -> list[str]:
    return [each.url.path for each in service.asked if each.method == "POST"]


def test_a_script_is_not_asked(gs: Gs, there: Service) -> None:
    there.on(f"GET {PATH}", GONE)
    shown = gs("instance", "delete", "--hard", IDENT)
    assert shown.exit_code == 0
    assert [line.split()[0] for line in shown.stdout.splitlines()] == ["FIELD", "id", "name", "status", "deleted"]


def test_who_says_no_deletes_nothing(gs: Gs, there: Service, answering: Callable[[bool], list[str]]) -> None:
    asked = answering(False)
    shown = gs("instance", "delete", "--hard", IDENT)
    assert shown.exit_code == 1
    assert shown.stderr.splitlines() == [
        f"web ({IDENT}): active, on h1, addresses 10.0.0.1",
        "Error: Nothing was deleted.",
    ]
    assert asked == ["Delete it for good?"]
    assert writes(there) == []


@pytest.mark.parametrize("words", [("--hard", "--yes"), ("--hard", "-y"), ()])
def test_who_is_sure_is_not_asked(
    gs: Gs, there: Service, answering: Callable[[bool], list[str]], words: tuple[str, ...]
) -> None:
    asked = answering(False)
    assert gs("instance", "delete", *words, IDENT).exit_code == 0
    assert asked == []
    assert len(writes(there)) == 1


def test_who_says_yes_is_told_little(gs: Gs, there: Service, answering: Callable[[bool], list[str]]) -> None:
    asked = answering(True)
    shown = gs("instance", "delete", "--hard", IDENT)
    assert shown.exit_code == 0
    assert len(asked) == 1
    assert len(shown.stdout.splitlines()) == 5


def test_programs_get_the_whole_document(gs: Gs, there: Service) -> None:
    there.on(f"GET {PATH}", GONE)
    assert "metadata" in gs("instance", "delete", "--hard", IDENT, "-o", "json").stdout
