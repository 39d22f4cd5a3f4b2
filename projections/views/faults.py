"""Faults as users see them: why a task failed, and the next step in words.

Why the words are made here: they name the thing and its verbs as they are called now, and no decision depends on them.
"""

import shlex
from typing import Any

from domain.aggregates import AGGREGATES
from domain.core.errors import FAULT_HINTS, NoValidHost, refusals
from domain.scheduling.advice import ADVICE
from domain.tasks.task import Fault


def document(fault: Fault | None, kind: str, subject: Any) -> dict[str, Any] | None:
    """Return a fault as a document, with its hint; `subject` is the aggregate of this kind whose task failed."""
    if fault is None:
        return None
    return {**fault.model_dump(), "hint": hint(fault, kind, subject)}


def hint(fault: Fault, kind: str, subject: Any) -> str:
    """Return what helps, in one or two sentences; empty where nothing is known to help."""
    return " ".join(filter(None, (_against(fault), _again(kind, subject))))


def _against(fault: Fault) -> str:
    if fault.code == NoValidHost.code:
        strictest = next((name for name, left in fault.details.items() if not left), "")
        advice = ADVICE.get(strictest, "change the scheduler's policy, or ask for less")
        return f"Filter {strictest} left no host: {advice}." if strictest else NoValidHost.hint
    refused = refusals().get(fault.code)
    return FAULT_HINTS.get(fault.code) or (refused.hint if refused else "")


def _again(kind: str, subject: Any) -> str:
    """Return how to delete and create again what was never made."""
    if not subject.never_made:
        return ""
    creates = next(action.name for action in AGGREGATES[kind].actions.values() if action.creates)
    # What is still on a host may be evidence, and an instance's deletion has to say that it is not.
    ignore = " --ignore" if kind == "instance" and subject.host is not None else ""
    return f"Delete it and {creates} again: gs {kind} delete {shlex.quote(subject.name)}{ignore}"
