"""Forms of the values in requests, as regular expressions: what is checked, what the API's description says, and what
whoever made a mistake is told in words."""

from typing import Any

from domain.core.event_filter import SUBJECT
from domain.image_properties import ARCH
from domain.instance.spec import HOSTNAME

UUID = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
ETAG = r' *(\*|(W/)?"?(?P<version>[0-9]{1,18})"?) *'
AGO = r"now|([0-9]{1,9}[smhdw])+"
SECONDS = r"[0-9]{1,11}(\.[0-9]{1,9})?"
ISO_8601 = r"[0-9]{4}-?(W?[0-9]).*"
PLACE = r"[\w.-]{1,249}[/:][0-9]{1,5}[/:][0-9]{1,18}"
CURSOR = r"now|beginning|[A-Za-z0-9_-]*"


def described(*forms: str, or_empty: bool = False) -> dict[str, Any]:
    """Return a field's `json_schema_extra` for a value that has one of these forms, or is as good as none where it is
    empty. A route parses it, whose refusal says more than that a pattern does not match."""
    return {"pattern": f"^({'|'.join(forms)}){'?' if or_empty else ''}$"}


LIKE_AN_ID = described(UUID, or_empty=True)
LIKE_AN_ETAG = described(ETAG.replace("?P<version>", ""))
LIKE_A_TIME = described(AGO, SECONDS, ISO_8601, or_empty=True)
LIKE_A_MOMENT = described(AGO, SECONDS, ISO_8601, PLACE)
LIKE_A_PLACE = described(PLACE)
LIKE_A_KEY = described(r"[^/]+/.+")
LIKE_A_SUBJECT = described(SUBJECT, or_empty=True)
LIKE_A_CURSOR = described(CURSOR)

ID = f"^{UUID}$"
CHECKSUM = r"^[0-9a-f]{64}$"
DATES = r"^\d{0,12},\d{0,12}$"
ENABLED = "^(enabled|disabled)$"

IN_WORDS: dict[str, str] = {
    ARCH: "1 to 32 small letters, digits and underscores, such as x86_64",
    CHECKSUM: "a SHA-256 of 64 hexadecimal digits, in small letters",
    DATES: "two numbers of seconds since 1970 with a comma between them, of which either may be missing",
    ENABLED: "enabled or disabled",
    HOSTNAME: "1 to 63 letters, digits and inner hyphens (a label by RFC 1123)",
    ID: "a UUID, such as 6f1c1b1e-0d5c-4f43-9a53-0b5a2f3d7c10",
}
"""Pattern that a field has to match -> what it allows. A test holds that every such pattern of the API is here."""
