"""Errors that a user of `gs` may see, each with its exit status.

Why a class for each status: scripts act on the number, people read a line and a hint, and neither is decided twice.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any


class GsError(Exception):
    """An error for the user. `str()` is a line that describes it; `hint` says what helps."""

    exit_status: int = 1

    def __init__(self, what: str, hint: str = "", code: str = "") -> None:
        super().__init__(what)
        self.hint = hint
        self.code = code


class Refused(GsError):
    """The service refused, or the task failed."""


class Failed(GsError):
    """Part of the request failed; each failure has been printed already."""

    def __init__(self, exit_status: int = 1) -> None:
        super().__init__("")
        self.exit_status = exit_status


class Usage(GsError):
    """The command line is wrong."""

    exit_status = 2


class Missing(GsError):
    """The named resource does not exist."""

    exit_status = 3


class Forbidden(GsError):
    """The user may not do this."""

    exit_status = 4


class Unreachable(GsError):
    """The service did not answer."""

    exit_status = 5


class TimedOut(GsError):
    """The time limit of the user has passed."""

    exit_status = 124


BY_STATUS: dict[int, type[GsError]] = {
    HTTPStatus.UNAUTHORIZED: Forbidden,
    HTTPStatus.FORBIDDEN: Forbidden,
    HTTPStatus.NOT_FOUND: Missing,
    HTTPStatus.GONE: Missing,
    HTTPStatus.TOO_MANY_REQUESTS: Unreachable,
    HTTPStatus.BAD_GATEWAY: Unreachable,
    HTTPStatus.SERVICE_UNAVAILABLE: Unreachable,
    HTTPStatus.GATEWAY_TIMEOUT: Unreachable,
}
"""The class of error for each HTTP status; every other status of 400 and above is Refused."""


def of_answer(status: int, body: Any) -> GsError:
    """Return the error that an answer describes; `body` is its decoded problem document, or any other body."""
    kind = BY_STATUS.get(status, Refused)
    if not isinstance(body, Mapping):
        return kind(f"The service answered {status} {phrase(status)}.")
    what = str(body.get("detail") or body.get("title") or phrase(status))
    wrong = [text for text in map(_field_error, body.get("errors") or ()) if text and text not in what]
    if wrong:
        what = f"{what.rstrip('.:')}: {'; '.join(wrong)}"
    return kind(what, str(body.get("hint") or ""), str(body.get("code") or ""))


def phrase(status: int) -> str:
    """Return the phrase of an HTTP status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "unknown status"


def _field_error(error: Any) -> str:
    """Return the error of a field as text; APIs name the field and the text in several ways."""
    if not isinstance(error, Mapping):
        return str(error)
    place = error.get("field") or error.get("pointer") or error.get("loc") or ""
    if isinstance(place, list):
        place = ".".join(str(part) for part in place if part != "body")
    text = error.get("detail") or error.get("message") or error.get("msg") or ""
    return ": ".join(filter(None, (str(place), str(text))))
