"""Data of earlier releases, turned into today's: pure functions by the type name that they read.

Why at reading and not on the log: what is written stays as it is for ever. The type name on a record holds its
revision (`gostack.instance.created.v1`); where a class went on to v2, one function here makes v2's data of v1's. They
follow one another, so that each is written once and never touched again.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from domain.core.cells import DEFAULT_CELL


@dataclass(frozen=True)
class Upcast:
    """One step: to which type name, and how."""

    to: str
    turn: Callable[[dict[str, Any]], dict[str, Any]]


def _claim_made(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "arch": "", "zone": "", "wanted_host": "", "number": 0}


def _placement_refused(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "vcpus": 0, "memory": 0, "disk": 0, "arch": "", "zone": "", "wanted_host": ""}


def _of_the_only_cell(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "cell": DEFAULT_CELL}


def _instance_created(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "cells": []}


def _of_a_request(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "task": {**data["task"], "correlation": ""}}


def _webhook_retried(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "begins": None}


UPCASTS: dict[str, Upcast] = {
    "gostack.host.claim-made.v1": Upcast("gostack.host.claim-made.v2", _claim_made),
    "gostack.host.registered.v1": Upcast("gostack.host.registered.v2", _of_the_only_cell),
    "gostack.instance.created.v1": Upcast("gostack.instance.created.v2", _instance_created),
    "gostack.scheduling.placement-refused.v1": Upcast("gostack.scheduling.placement-refused.v2", _placement_refused),
    "gostack.scheduling.placement-refused.v2": Upcast("gostack.scheduling.placement-refused.v3", _of_the_only_cell),
    "gostack.task.accepted.v1": Upcast("gostack.task.accepted.v2", _of_a_request),
    "gostack.task.planned.v1": Upcast("gostack.task.planned.v2", _of_a_request),
    "gostack.webhook.retried.v1": Upcast("gostack.webhook.retried.v2", _webhook_retried),
    "gostack.zone.created.v1": Upcast("gostack.zone.created.v2", _of_the_only_cell),
}
"""Type name as it was written -> the step to the next."""


def upcast(name: str, value: bytes, steps: Mapping[str, Upcast] | None = None) -> tuple[str, bytes]:
    """Today's type name and data. Raises KeyError for a name that is not known, ValueError for data that is not so."""
    steps = UPCASTS if steps is None else steps
    step = steps[name]
    data = json.loads(value)
    if not isinstance(data, dict):
        raise ValueError(f"data of {name} is no object")
    for _ in range(len(steps)):
        try:
            data = step.turn(data)
        except Exception as wrong:
            raise ValueError(f"data of {name} cannot be turned into {step.to}: {wrong!r}") from wrong
        if step.to not in steps:
            return step.to, json.dumps(data).encode()
        step = steps[step.to]
    raise ValueError(f"the steps from {name} lead in a circle")


def today(name: str) -> str:
    """The type name that data of this one is read as."""
    for _ in UPCASTS:
        if name not in UPCASTS:
            break
        name = UPCASTS[name].to
    return name


def earlier(name: str) -> tuple[str, ...]:
    """The type names whose data is read as this one's, the name itself not among them."""
    return tuple(each for each in UPCASTS if today(each) == name)
