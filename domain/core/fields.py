"""Which fields of a command are a user's to set.

Why a mark on the field: the API's request body and the command line's options are both made from the command's class,
and neither may offer what only the operator's settings decide.
"""

from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo


class _OperatorsOnly:
    """The mark's own type, so that no other annotation equals it."""


OPERATORS_ONLY: Final[Any] = _OperatorsOnly()
"""Marks a field that the operator's settings fill in: `keep_for: Annotated[float, OPERATORS_ONLY]`."""


def user_fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a model that a user may set, by name, in the order in which the class has them."""
    return {name: field for name, field in model.model_fields.items() if OPERATORS_ONLY not in field.metadata}
