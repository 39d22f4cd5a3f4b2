"""Marks on fields: facts about a field of a message or a state besides its type.

Why a mark on the field: the API's request body and the command line's options are both made from the command's class,
and what is encrypted follows from the message's, so what either has to know of a field stands there, once.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final, get_args, get_origin

from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo


class _OperatorsOnly:
    """The mark's own type, so that no other annotation equals it."""


OPERATORS_ONLY: Final[Any] = _OperatorsOnly()
"""Marks a field that the operator's settings fill in: `keep_for: Annotated[float, OPERATORS_ONLY]`."""


class _Bytes:
    """The mark's own type, so that no other annotation equals it."""


BYTES: Final[Any] = _Bytes()
"""Marks a field that counts bytes, which people may write as `10G`: `size: Annotated[int, BYTES]`."""


class Owner(StrEnum):
    """Under whose key the text of a field can be encrypted, so that it is lost with the key."""

    PROJECT = "project"
    """The project of the thing; the operator where the thing belongs to no project."""
    ACTOR = "actor"
    """The person, or the program, that the text names or that wrote it."""


@dataclass(frozen=True)
class Personal:
    """Marks a text, or texts, that may say something of a person: names, descriptions, free values."""

    owner: Owner = Owner.PROJECT


PERSONAL: Final = Personal()
"""Marks a text of whoever owns the thing: `description: Annotated[str, PERSONAL]`."""
PERSONAL_OF_ACTOR: Final = Personal(Owner.ACTOR)
"""Marks a text that names who acted, or that this person wrote: `reason: Annotated[str, PERSONAL_OF_ACTOR]`."""


class _Plain:
    """The mark's own type, so that no other annotation equals it."""


PLAIN: Final[Any] = _Plain()
"""Marks a text that says nothing of a person, where the field's name could: `name: Annotated[str, PLAIN]` of a job."""


LONGEST_REFERENCE = 255
"""Characters of an id or a name that stands for something else, at most."""


@dataclass(frozen=True)
class Refers:
    """Marks a field that refers to something of this kind, for which people write its id or its name: an aggregate, or
    a part of one that the API lists, such as a port.

    A field that is a text holds the id, and nothing where it is empty; one that is a model holds the thing as it was
    when it was asked for, so that a later change of it changes nothing, and nothing where it is None. One that is a
    tuple of either holds several, each once.
    """

    kind: str


def user_fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields of a model that a user may set, by name, in the order in which the class has them. A field that
    holds the thing it refers to is a text there, the thing's id or name; one that holds several is several texts."""
    return {
        name: _by_name(field) if holds(field) else field
        for name, field in model.model_fields.items()
        if OPERATORS_ONLY not in field.metadata
    }


def bounds(field: FieldInfo) -> list[Any]:
    """Return the limits of a field's values, without the marks that say what a text is, or what it refers to."""
    return [each for each in field.metadata if each is not PLAIN and not isinstance(each, (Personal, Refers))]


def several(field: FieldInfo) -> bool:
    """Return whether a field holds several values, of any number."""
    return get_origin(field.annotation) in (tuple, list)


def reference(field: FieldInfo) -> Refers | None:
    """Return the mark of a field that refers to something; None of any other."""
    return next((mark for mark in field.metadata if isinstance(mark, Refers)), None)


def holds(field: FieldInfo) -> type[BaseModel] | None:
    """Return the class of the thing that a referring field holds; None for a field that holds an id, or does not
    refer."""
    if reference(field) is None:
        return None
    kinds = get_args(field.annotation) or (field.annotation,)
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def references(model: type[BaseModel]) -> dict[str, Refers]:
    """Return the fields of a model that refer to something, by name."""
    return {name: mark for name, field in model.model_fields.items() if (mark := reference(field)) is not None}


def _by_name(field: FieldInfo) -> FieldInfo:
    text: Any = Annotated[str, Field(min_length=1, max_length=LONGEST_REFERENCE)]
    given: dict[str, Any] = {"description": field.description}
    if several(field):
        shape: Any = Annotated[tuple[text, ...], reference(field), *bounds(field)]
        return FieldInfo.from_annotated_attribute(shape, Field(**given) if field.is_required() else Field((), **given))
    given |= {"min_length": 1, "max_length": LONGEST_REFERENCE}
    shape = Annotated[str if field.is_required() else str | None, reference(field)]
    return FieldInfo.from_annotated_attribute(shape, Field(**given) if field.is_required() else Field(None, **given))
