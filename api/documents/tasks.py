"""Tasks, jobs and migrations."""

from typing import Any

from pydantic import Field

from api.documents.document import Document
from domain.tasks.task import Fault


class ProgressDocument(Document):
    """How far a long step is."""

    step: str
    percent: float
    done: int = Field(description="bytes")
    total: int = Field(description="bytes; 0: not known")


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
    subject: str = Field(description="what it works on: KIND/ID")
    subject_name: str = ""
    beside: bool = Field(False, description="it runs beside other work and leaves the status alone")
    params: dict[str, Any] = Field(
        default_factory=dict, description="what was asked for, as far as it is not the default"
    )
    progress: ProgressDocument | None = Field(None, description="of its running step, where that takes long")
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
    subject: str = ""
    project_id: str
    attempt: int
    args: dict[str, Any]
    progress: ProgressDocument | None = None
    fault: Fault | None
    dispatched: str
    deadline: str
    finished: str | None
    version: int


class MigrationDocument(Document):
    """A migration: a move of an instance from host to host."""

    id: str = Field(description="of the task that migrates, too")
    type: str
    status: str
    instance_id: str
    instance_name: str
    project_id: str
    source_id: str
    source_name: str
    destination_id: str = Field(description="empty until the scheduler has chosen one")
    destination_name: str
    task_id: str
    created: str
    updated: str
    version: int
