"""Values that do not change, at the price of ones that may.

A frozen dataclass sets each field through a call of its own: three times what making it takes otherwise, and several of
these are made for every record of the log. Here the type checker alone keeps them from being changed.
"""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """Return the class as a dataclass with slots, equal and hashed by its fields, which must not be set again."""
    return dataclass(slots=True, unsafe_hash=True)(cls)
