"""A decision for each text that a message or a state may hold: may it say something of a person, and whose is it?"""

from pathlib import Path
from typing import Annotated, Any

import pytest

from domain.core.fields import PERSONAL, PERSONAL_OF_ACTOR, PLAIN, Owner, Personal
from domain.core.messages import Model
from domain.personal_data import NAMES, NEVER_PERSONAL, all_texts, models, page, texts, undecided

PAGE = Path(__file__).parents[2] / "docs" / "personal-data.md"
DECIDE = (
    "has text that nobody decided about: mark it Annotated[..., PERSONAL] (domain/core/fields.py) if it may say "
    "something of a person, else PLAIN, or put its name into NEVER_PERSONAL (domain/personal_data.py)"
)


class Inner(Model):
    label: str
    note: Annotated[str, PERSONAL] = ""
    number: int = 0


class Outer(Model):
    task_id: str
    by: Annotated[str | None, PERSONAL_OF_ACTOR] = None
    name: Annotated[str, PLAIN]
    free: dict[str, Any] = {}
    inners: tuple[Inner, ...] = ()
    last: Inner | None = None


def test_every_text_of_a_message_or_a_state_is_decided() -> None:
    assert [f"{field} {DECIDE}" for field in undecided()] == []


def test_texts_are_found_all_the_way_down() -> None:
    found = {text.path: text for text in texts(Outer)}
    inner = ["inners.label", "inners.note", "last.label", "last.note"]
    assert list(found) == ["task_id", "by", "name", "free", *inner]
    assert {path for path, text in found.items() if text.undecided} == {"free", "inners.label", "last.label"}
    assert {path for path, text in found.items() if text.of(Owner.PROJECT)} == {"inners.note", "last.note"}
    assert found["by"].of(Owner.ACTOR)
    assert found["last.label"].field == "Inner.label"


@pytest.mark.parametrize(
    ("where", "path", "owner"),
    [
        ("envelope", "actor", Owner.ACTOR),
        ("envelope", "reason", Owner.ACTOR),
        ("gostack.instance.boot.v1", "metadata", Owner.PROJECT),
        ("gostack.instance.created.v6", "image.name", Owner.PROJECT),
        ("gostack.keypair.created.v1", "public_key", Owner.PROJECT),
        ("gostack.task.accepted.v3", "task.params", Owner.PROJECT),
        ("network", "ports.name", Owner.PROJECT),
        ("webhook", "wanted.actor", Owner.ACTOR),
    ],
)
def test_what_may_say_something_of_a_person_is_marked(where: str, path: str, owner: Owner) -> None:
    assert [text.of(owner) for text in all_texts()[where] if text.path == path] == [True]


def test_a_mark_and_the_table_do_not_contradict_each_other() -> None:
    found = [text for each in all_texts().values() for text in each]
    assert [text.field for text in found if text.plain_name and isinstance(text.mark, Personal)] == []
    assert {text.field.partition(".")[2] for text in found} >= NAMES, "a name that no field has any more"
    listed = " ".join(NEVER_PERSONAL.values()).split()
    assert len(listed) == len(NAMES), "a name that is listed twice"


def test_every_message_and_every_state_is_looked_at() -> None:
    assert {"gostack.instance.boot.v1", "gostack.task.accepted.v3", "instance", "webhook"} <= models().keys()


def test_the_page_is_the_table() -> None:
    assert PAGE.read_text() == page(), "python -m domain.personal_data > docs/personal-data.md"
