"""What is said about a field of a command besides its type.

Why a mark on the field: the API's request body and the command line's options are both made from the command's class,
so what either has to know of a field stands there, once.
"""

from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo


class _OperatorsOnly:
    """The mark's own type, so that no other annotation equals it."""


OPERATORS_ONLY: Final[Any] = _OperatorsOnly()
"""Marks a field that the operator's settings fill in: `keep_for: Annotated[float, OPERATORS_ONLY]`."""


@dataclass(frozen=True)
class Refers:
    """Marks a field that holds the id of something of this kind, for which people may write its name. An empty value
    means nothing."""

    kind: str


def user_fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a model that a user may set, by name, in the order in which the class has them."""
    return {name: field for name, field in model.model_fields.items() if OPERATORS_ONLY not in field.metadata}


def references(model: type[BaseModel]) -> dict[str, Refers]:
    """The fields of a model that refer to something, by name."""
    return {
        name: mark for name, field in model.model_fields.items() for mark in field.metadata if isinstance(mark, Refers)
    }
