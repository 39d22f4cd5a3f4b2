"""Tasks and jobs."""

from typing import Any

from api.documents.document import Document
from domain.tasks.flow import Fault


class TaskDocument(Document):
    """A task."""

    id: str
    action: str
    status: str
    step: str
    steps_done: int
    steps: list[str]
    instance_id: str
    instance_name: str
    subject: str
    actor: str
    project_id: str
    correlation_id: str
    attempt: int
    deadline: str | None
    fault: Fault | None
    undo_fault: Fault | None
    cancelled_by: str
    accepted: str
    finished: str | None
    version: int


class JobDocument(Document):
    """A job: one step of a task, sent to whoever does it."""

    id: str
    name: str
    status: str
    direction: str
    target: str
    host_id: str
    host_name: str
    task_id: str
    instance_id: str
    project_id: str
    attempt: int
    args: dict[str, Any]
    fault: Fault | None
    dispatched: str
    deadline: str
    finished: str | None
    version: int
