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
    """A step from one revision to the next: the type name it leads to, and the function."""

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


def _as_it_was(data: dict[str, Any]) -> dict[str, Any]:
    """Leave the data unchanged: new fields have defaults."""
    return data


def _claim_of_an_instance(data: dict[str, Any]) -> dict[str, Any]:
    """Give the claim the instance's id: a claim had none of its own, and each instance one at most."""
    return {**data, "claim_id": data["instance_id"]}


def _status_of_any_kind(data: dict[str, Any]) -> dict[str, Any]:
    """Rename vm_state to status: only instances had tasks."""
    return {**{name: value for name, value in data.items() if name != "vm_state"}, "status": data["vm_state"]}


def _reply_to_an_instance(data: dict[str, Any]) -> dict[str, Any]:
    reply = data["reply"]
    return {**data, "reply": {**reply, "subject": f"instance/{reply['instance_id']}"}}


def _place_of_an_instance(data: dict[str, Any]) -> dict[str, Any]:
    """Name the claim by the instance's id, the only claim that the requester knows of."""
    return {**_reply_to_an_instance(data), "claim_id": data["instance_id"]}


def _release_of_an_instance(data: dict[str, Any]) -> dict[str, Any]:
    return {**_reply_to_an_instance(data), "claims": [data["instance_id"]]}


def _dispatch_of_an_instance(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "subject": f"instance/{data['instance_id']}"}


def _image_of_everybody(data: dict[str, Any]) -> dict[str, Any]:
    """Let every project use the image, as every project could before an image had a visibility."""
    return {**data, "visibility": "public"}


UPCASTS: dict[str, Upcast] = {
    "gostack.host.claim-made.v1": Upcast("gostack.host.claim-made.v2", _claim_made),
    "gostack.host.claim-made.v2": Upcast("gostack.host.claim-made.v3", _claim_of_an_instance),
    "gostack.host.claim-made.v3": Upcast("gostack.host.claim-made.v4", _as_it_was),
    "gostack.host.claim-made.v4": Upcast("gostack.host.claim-made.v5", _as_it_was),
    "gostack.host.claim-released.v1": Upcast("gostack.host.claim-released.v2", _claim_of_an_instance),
    "gostack.host.disabled.v1": Upcast("gostack.host.disabled.v2", _as_it_was),
    "gostack.host.registered.v1": Upcast("gostack.host.registered.v2", _of_the_only_cell),
    "gostack.host.uplink-changed.v1": Upcast("gostack.host.uplink-changed.v2", _as_it_was),
    "gostack.flavor.created.v1": Upcast("gostack.flavor.created.v2", _as_it_was),
    "gostack.flavor.updated.v1": Upcast("gostack.flavor.updated.v2", _as_it_was),
    "gostack.image.created.v1": Upcast("gostack.image.created.v2", _image_of_everybody),
    "gostack.image.updated.v1": Upcast("gostack.image.updated.v2", _as_it_was),
    "gostack.image.make-instance.v1": Upcast("gostack.image.make-instance.v2", _as_it_was),
    "gostack.instance.created.v1": Upcast("gostack.instance.created.v2", _instance_created),
    "gostack.instance.created.v2": Upcast("gostack.instance.created.v3", _as_it_was),
    "gostack.instance.created.v3": Upcast("gostack.instance.created.v4", _as_it_was),
    "gostack.instance.created.v4": Upcast("gostack.instance.created.v5", _as_it_was),
    "gostack.instance.created.v5": Upcast("gostack.instance.created.v6", _as_it_was),
    "gostack.instance.rebuilt.v1": Upcast("gostack.instance.rebuilt.v2", _as_it_was),
    "gostack.instance.rescued.v1": Upcast("gostack.instance.rescued.v2", _as_it_was),
    "gostack.instance.migration-changed.v1": Upcast("gostack.instance.migration-changed.v2", _as_it_was),
    "gostack.instance.migration-changed.v2": Upcast("gostack.instance.migration-changed.v3", _as_it_was),
    "gostack.instance.resized.v1": Upcast("gostack.instance.resized.v2", _as_it_was),
    "gostack.scheduling.placement-refused.v1": Upcast("gostack.scheduling.placement-refused.v2", _placement_refused),
    "gostack.scheduling.placement-refused.v2": Upcast("gostack.scheduling.placement-refused.v3", _of_the_only_cell),
    "gostack.scheduling.placement-refused.v3": Upcast("gostack.scheduling.placement-refused.v4", _claim_of_an_instance),
    "gostack.scheduling.placement-refused.v4": Upcast("gostack.scheduling.placement-refused.v5", _as_it_was),
    "gostack.scheduling.place-instance.v1": Upcast("gostack.scheduling.place-instance.v2", _place_of_an_instance),
    "gostack.scheduling.place-instance.v2": Upcast("gostack.scheduling.place-instance.v3", _as_it_was),
    "gostack.scheduling.release-instance.v1": Upcast("gostack.scheduling.release-instance.v2", _release_of_an_instance),
    "gostack.network.created.v1": Upcast("gostack.network.created.v2", _as_it_was),
    "gostack.network.created.v2": Upcast("gostack.network.created.v3", _as_it_was),
    "gostack.network.updated.v1": Upcast("gostack.network.updated.v2", _as_it_was),
    "gostack.network.updated.v2": Upcast("gostack.network.updated.v3", _as_it_was),
    "gostack.network.port-created.v1": Upcast("gostack.network.port-created.v2", _as_it_was),
    "gostack.network.port-updated.v1": Upcast("gostack.network.port-updated.v2", _as_it_was),
    "gostack.network.bind-port.v1": Upcast("gostack.network.bind-port.v2", _reply_to_an_instance),
    "gostack.network.unbind-port.v1": Upcast("gostack.network.unbind-port.v2", _reply_to_an_instance),
    "gostack.pool.created.v1": Upcast("gostack.pool.created.v2", _as_it_was),
    "gostack.job.dispatch-host-jobs.v1": Upcast("gostack.job.dispatch-host-jobs.v2", _dispatch_of_an_instance),
    "gostack.task.accepted.v2": Upcast("gostack.task.accepted.v3", _as_it_was),
    "gostack.task.planned.v2": Upcast("gostack.task.planned.v3", _as_it_was),
    "gostack.task.finished.v1": Upcast("gostack.task.finished.v2", _status_of_any_kind),
    "gostack.task.failed.v1": Upcast("gostack.task.failed.v2", _status_of_any_kind),
    "gostack.task.steps-dispatched.v1": Upcast("gostack.task.steps-dispatched.v2", _as_it_was),
    "gostack.task.steps-finished.v1": Upcast("gostack.task.steps-finished.v2", _as_it_was),
    "gostack.task.steps-finished.v2": Upcast("gostack.task.steps-finished.v3", _as_it_was),
    "gostack.task.steps-finished.v3": Upcast("gostack.task.steps-finished.v4", _as_it_was),
    "gostack.task.accepted.v1": Upcast("gostack.task.accepted.v2", _of_a_request),
    "gostack.task.planned.v1": Upcast("gostack.task.planned.v2", _of_a_request),
    "gostack.volume.created.v1": Upcast("gostack.volume.created.v2", _as_it_was),
    "gostack.volume.created.v2": Upcast("gostack.volume.created.v3", _as_it_was),
    "gostack.webhook.retried.v1": Upcast("gostack.webhook.retried.v2", _webhook_retried),
    "gostack.zone.created.v1": Upcast("gostack.zone.created.v2", _of_the_only_cell),
}
"""Type name as it was written -> the step to the next revision."""


def upcast(name: str, value: bytes, steps: Mapping[str, Upcast] | None = None) -> tuple[str, bytes]:
    """Return today's type name and data. Raises KeyError for an unknown name, ValueError for malformed data."""
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
    """Return the type name that data of this type name is read as."""
    for _ in UPCASTS:
        if name not in UPCASTS:
            break
        name = UPCASTS[name].to
    return name


def earlier(name: str) -> tuple[str, ...]:
    """Return the older type names whose data is read as this one's."""
    return tuple(each for each in UPCASTS if today(each) == name)
