"""Filters on events: one set, the same for lists, for the stream and for webhooks.

Why here: an event is looked at in three places, as a record of the log, as a row of history and before it is sent to
somebody, and must be wanted, or not, alike in all of them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from json import loads

from domain.core.messages import Record

PREFIX = "gostack."
"""Prefix of every event type's name; a filter may leave it out."""
LONGEST_TYPE = 128
MOST_TYPES = 16
MOST_STARS = 4
TYPES_ALLOWED = (
    "the name of a type (of every version where it ends without one), or a pattern in which * stands for anything, "
    f"such as instance.*: letters, digits, dots and hyphens, at most {MOST_STARS} *, {LONGEST_TYPE} characters and "
    f"{MOST_TYPES} of them"
)
SUBJECT_ALLOWED = "KIND/ID, such as instance/ID, or an ID alone"
UNREADABLE = (ValueError, KeyError, AttributeError, TypeError, RecursionError)
"""Errors of taking a record apart that is no event, or a damaged one: not even its headers are sure to have values. A
reader of the log skips such a record; one that failed on it would fail again after every start."""
_TYPE = re.compile(r"[a-z0-9.*-]+")
_VERSIONED = re.compile(r"(\.v[0-9]+|\*)$")
SUBJECT = r"[a-z-]{1,40}/[!-~]{1,80}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
"""Pattern of a subject."""
_SUBJECT = re.compile(SUBJECT)


@dataclass(frozen=True)
class Interest:
    """A filter on events; empty fields match every event."""

    subject: str = ""
    """KIND/ID, or an id alone, which matches whatever has it."""
    types: tuple[str, ...] = ()
    """Names or patterns of types; an event matches if any of them does."""
    actor: str = ""
    project: str = ""
    task: str = ""
    """Id of a task or of a request; matches every event that it led to."""
    since: datetime | None = None
    until: datetime | None = None

    def wants(self, record: Record) -> bool:
        """Return whether a record of the log matches. Raises what is in UNREADABLE."""
        if record.filler:
            return False
        headers = {name: value.decode() for name, value in record.headers}
        subject = headers.get("ce_subject", "")
        return (
            (not self.subject or self.subject in (subject, subject.partition("/")[2]))
            and (not self.actor or self.actor == headers.get("ce_actor", ""))
            and (not self.project or self.project == headers.get("ce_project", ""))
            and is_one_of(headers.get("ce_type", ""), self.types)
            and (not self.task or self._of_task(record, headers))
            and ((self.since is None and self.until is None) or self._in_time(headers))
        )

    def _of_task(self, record: Record, headers: dict[str, str]) -> bool:
        if self.task in (headers.get("ce_correlationid", ""), headers.get("ce_taskid", "")):
            return True
        # Most records do not even hold the word, and need not be taken apart.
        return self.task.encode() in record.value and loads(record.value).get("task_id", "") == self.task

    def _in_time(self, headers: dict[str, str]) -> bool:
        time = datetime.fromisoformat(headers["ce_time"])
        return (self.since is None or time >= self.since) and (self.until is None or time <= self.until)


def is_one_of(name: str, types: Sequence[str]) -> bool:
    """Return whether a type's name matches one of these names and patterns; without any, every name does."""
    return not types or any(each == name or ("*" in each and fnmatchcase(name, each)) for each in types)


def whole_types(given: Sequence[str]) -> tuple[str, ...]:
    """Return names and patterns as they are compared: `instance.*` becomes `gostack.instance.*`, and `task.accepted`
    becomes `gostack.task.accepted.v*`. Raises ValueError, which says what is allowed."""
    given = [each.lower() for each in given]
    for each in given:
        if not _TYPE.fullmatch(each) or len(each) > LONGEST_TYPE or each.count("*") > MOST_STARS:
            raise ValueError(f"it must be {TYPES_ALLOWED}")
    if len(given) > MOST_TYPES:
        raise ValueError(f"it must be {TYPES_ALLOWED}")
    versions = (each if _VERSIONED.search(each) else f"{each}.v*" for each in dict.fromkeys(given))
    return tuple(each if each.startswith((PREFIX, "*")) else PREFIX + each for each in versions)


def checked_subject(given: str) -> str:
    """Return the subject, its kind in lower case. Raises ValueError, which says what is allowed."""
    kind, slash, ident = given.partition("/")
    subject = f"{kind.lower()}{slash}{ident}"
    if not _SUBJECT.fullmatch(subject):
        raise ValueError(f"it must be {SUBJECT_ALLOWED}")
    return subject
