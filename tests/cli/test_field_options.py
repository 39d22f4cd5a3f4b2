"""A command's fields as options: one text, and one set of bounds, for the API and for gs."""

import inspect
from enum import StrEnum
from typing import Annotated, Any, Literal, cast

import pytest
import typer
from pydantic import Field, ValidationError
from typer import BadParameter
from typer.testing import CliRunner, Result

from api.standard import body_of
from cli.gs.field_options import parameter_of, sent
from domain.core.fields import BYTES, OPERATORS_ONLY, Refers, user_fields
from domain.core.messages import Model
from domain.guest_spec import FlavorRef, ImageRef
from domain.instance.actions import ACTIONS
from tests.cli.test_commands import leaf, names


class Way(StrEnum):
    LIVE = "live"
    COLD = "cold"


class Wish(Model):
    """Whatever a verb may be told."""

    size: int = Field(ge=1, le=9)
    """How many there are to be."""
    grace: float = Field(60.0, ge=0)
    force: bool = False
    keep: bool = True
    loud: bool | None = None
    way: Way = Way.LIVE
    mode: Literal["a", "b"] | None = None
    host_id: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    parts: tuple[str, ...] = ()
    inner: Annotated[float, OPERATORS_ONLY] = 1.0


def body(*words: str) -> Any:
    """What a command line makes of these, or how it refuses them."""
    fields = user_fields(Wish)
    app = typer.Typer()
    found: list[dict[str, Any]] = []

    def run(**given: Any) -> None:
        found.append(sent(fields, given))

    parameters = [parameter_of(name, field, needed=field.is_required()) for name, field in fields.items()]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    app.command()(run)
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, list(words))
    return found[0] if found else done


def test_what_may_stay_as_it_is_can_be_switched_on_and_off() -> None:
    assert body("--size", "2", "--loud") == {"size": 2, "loud": True}
    assert body("--size", "2", "--no-loud") == {"size": 2, "loud": False}


def test_only_what_was_given_is_sent() -> None:
    assert body("--size", "3") == {"size": 3}


def test_every_type_is_what_the_service_takes() -> None:
    given = body(
        *("--size", "9", "--grace", "0", "--force", "--no-keep", "--way", "cold", "--mode", "b", "--host-id", "h1"),
        *("--labels", "a=1,b=2", "--labels", "c=3", "--parts", "x,y", "--parts", "z"),
    )
    assert given == {
        "size": 9,
        "grace": 0.0,
        "force": True,
        "keep": False,
        "way": "cold",
        "mode": "b",
        "host_id": "h1",
        "labels": {"a": "1", "b": "2", "c": "3"},
        "parts": ["x", "y", "z"],
    }
    assert Wish(**given).way is Way.COLD


@pytest.mark.parametrize(
    "words", ["", "--size 0", "--size 10", "--size 1 --grace -1", "--size 1 --way slow", "--size 1 --inner 2"]
)
def test_what_the_service_would_refuse_is_wrong_usage(words: str) -> None:
    refused = body(*words.split())
    assert isinstance(refused, Result)
    assert refused.exit_code == 2


def test_a_field_is_explained_by_the_text_under_it() -> None:
    shown = body("--help").output
    assert "How many there are to be." in shown
    assert "[default: (60.0)]" in shown
    assert "[default: (keep)]" in shown
    assert "inner" not in shown


def test_what_a_field_holds_of_something_else_is_asked_for_by_id_or_name() -> None:
    class Reference(Model):
        image: Annotated[ImageRef | None, Refers("image")] = None
        """Where from."""
        flavor: Annotated[FlavorRef, Refers("flavor")]
        host: Annotated[str, Refers("host")] = ""

    fields = user_fields(Reference)
    assert {name: field.annotation for name, field in fields.items()} == {
        "image": str | None,
        "flavor": str,
        "host": str,
    }
    assert fields["image"].description == "Where from."
    assert (fields["image"].is_required(), fields["flavor"].is_required()) == (False, True)
    assert [parameter_of(name, field, needed=False).name for name, field in fields.items()] == list(fields)


class Several(Model):
    """What refers to several things at once."""

    groups: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...], Refers("security-group"), Field(max_length=2)
    ] = ()
    """Who may come in."""
    flavors: Annotated[tuple[FlavorRef, ...], Refers("flavor"), Field(max_length=3)]
    images: Annotated[tuple[ImageRef, ...], Refers("image")] = ()


def test_several_things_are_asked_for_by_ids_or_names() -> None:
    fields = user_fields(Several)
    assert [field.is_required() for field in fields.values()] == [False, True, False]
    assert sent(fields, {"groups": ["a,b", "c"], "flavors": ["small,large"]}) == {
        "groups": ["a", "b", "c"],
        "flavors": ["small", "large"],
    }
    assert [parameter_of(name, field, needed=False).name for name, field in fields.items()] == list(fields)
    taken = body_of(cast(Any, Several), "SeveralBody")
    assert taken.model_validate({"flavors": ["small"]}).model_dump() == {
        "groups": (),
        "flavors": ("small",),
        "images": (),
    }
    for wrong in ({"flavors": ["a"] * 4}, {"flavors": [""]}, {"flavors": ["x" * 256]}, {"flavors": "small"}, {}):
        with pytest.raises(ValidationError):
            taken.model_validate(wrong)
    with pytest.raises(ValidationError):
        taken.model_validate({"flavors": ["a"], "groups": ["a"] * 3})


def test_a_text_that_refers_to_something_has_a_greatest_length() -> None:
    class Reference(Model):
        host: Annotated[str, Refers("host")] = ""

    with pytest.raises(ValidationError):
        body_of(cast(Any, Reference), "ReferenceBody").model_validate({"host": "x" * 2000})


def test_bytes_are_written_with_a_unit() -> None:
    class Disk(Model):
        size: Annotated[int, BYTES]

    fields = user_fields(Disk)
    assert sent(fields, {"size": "1.5G"}) == {"size": 3 << 29}
    with pytest.raises(BadParameter):
        sent(fields, {"size": "large"})


def test_a_type_that_no_option_can_hold_is_named() -> None:
    class Odd(Model):
        part: Wish

    with pytest.raises(TypeError, match="field part"):
        parameter_of("part", user_fields(Odd)["part"], needed=True)


@pytest.mark.parametrize("verb", [name for name, action in ACTIONS.items() if action.begins])
def test_gs_and_the_api_take_the_same_of_a_verb_and_say_the_same_of_it(verb: str) -> None:
    fields = user_fields(ACTIONS[verb].command)
    assert fields.keys() == body_of(ACTIONS[verb].command, verb).model_fields.keys()
    command = f"instance {verb.removeprefix('hard-')}"
    assert {f"--{name.replace('_', '-')}" for name in fields} <= names(command)
    said = {each.name: each.help for each in leaf(command).params}
    for name, field in fields.items():
        assert field.description
        assert said[name] == field.description
        assert (
            body_of(ACTIONS[verb].command, verb).model_json_schema()["properties"][name]["description"]
            == field.description
        )
