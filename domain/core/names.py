"""Names of things: what may be one, for every kind alike.

Why: a name stands for its thing in paths, on command lines and in other people's terminals. So none is written like an
id, which would hide the thing that has it; none breaks a path; and none is seen as another, or changes how others are.
"""

import re

from domain.core.errors import Invalid

LONGEST = 255
UNSEEN = (
    # Of control characters, marks of the writing direction, characters without width, line separators and fillers.
    r"\x00-\x1f\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    r"\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufeff\uffa0\ufff9-\ufffb"
)
"""Class of a regular expression: characters that nobody sees, or that change how others are seen."""
BEYOND = "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
"""The same, of what needs more than 16 bits."""
PATTERN = rf"^(?!\s|\.{{1,2}}$)(?!.*\s$)[^/{UNSEEN}]+$"
"""The rule for descriptions of the API, besides that a name is not written like an id."""
ALLOWED = (
    f"1 to {LONGEST} characters that are seen, without control characters, marks of direction, characters without "
    "width and slashes"
)

_UNSEEN = re.compile(f"[{UNSEEN}{BEYOND}\ud800-\udfff]")
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def wrong_with(name: str) -> str:
    """Return what is wrong with a name, as a clause about it; empty for a name that a new thing may have."""
    if not name.strip():
        return "a name needs a character that is seen"
    if len(name) > LONGEST:
        return f"it has {len(name)} characters, and {LONGEST} are allowed"
    if found := _UNSEEN.search(name):
        return f"it has the character U+{ord(found[0]):04X}, which is not seen; allowed are {ALLOWED}"
    if name != name.strip():
        return "it begins or ends with a space"
    if "/" in name or name in (".", ".."):
        return "a slash, or a name of dots alone, would be another path"
    if _ID.fullmatch(name):
        return "it is written like an ID, and would hide the thing that has this ID"
    return ""


def must_be_name(name: str, field: str = "name") -> None:
    """Check the name of a thing that is to be made or renamed. Raises Invalid."""
    if why := wrong_with(name):
        raise Invalid(field=field, value=ascii(name[:LONGEST]), allowed=why)
