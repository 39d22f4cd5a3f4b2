"""Names in requests, with the domain's rule on them, and in the one form that Unicode has for them (NFC).

Why normalised here: the same name typed on two systems is two different texts, and one of them would not be found.
"""

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, Field

from domain.core.names import LONGEST, PATTERN, wrong_with


def normal(text: str) -> str:
    """Return a text in Unicode's normalization form C."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _checked(text: str) -> str:
    name = normal(text)
    if why := wrong_with(name):
        raise ValueError(why)
    return name


def _checked_or_empty(text: str) -> str:
    return _checked(text) if text else text


NameRef = Annotated[str, AfterValidator(normal)]
"""Name of a thing that is there."""
Name = Annotated[
    str, Field(min_length=1, max_length=LONGEST, json_schema_extra={"pattern": PATTERN}), AfterValidator(_checked)
]
"""Name of a thing that is to be made or renamed."""
NameOrNone = Annotated[
    str,
    Field(max_length=LONGEST, json_schema_extra={"pattern": f"^$|{PATTERN}"}),
    AfterValidator(_checked_or_empty),
]
"""The same, of a thing that needs no name: its name may be empty."""
