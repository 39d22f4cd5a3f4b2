"""Documents about tasks, jobs and migrations."""

from typing import Any

from pydantic import Field

from api.documents.document import Document
from api.documents.faults import FaultDocument


class ProgressDocument(Document):
    """The progress of a step that takes long."""

    step: str
    percent: float
    done: int = Field(description="bytes that were processed so far")
    total: int = Field(description="bytes in all; 0 if the number is not known")


class TaskDocument(Document):
    """A task: an action that takes time, carried out in steps."""

    id: str
    action: str
    status: str
    step: str
    steps_done: int
    steps: list[str]
    instance_id: str
    instance_name: str
    subject: str = Field(description="resource that the task works on: KIND/ID")
    subject_name: str = ""
    beside: bool = Field(
        False, description="whether the task may run beside another one and leaves the status unchanged"
    )
    params: dict[str, Any] = Field(
        default_factory=dict, description="parameters of the action that differ from their defaults"
    )
    progress: ProgressDocument | None = Field(None, description="progress of the running step, if it takes long")
    actor: str
    project_id: str
    correlation_id: str
    attempt: int
    deadline: str | None
    fault: FaultDocument | None
    undo_fault: FaultDocument | None
    cancelled_by: str
    accepted: str
    finished: str | None
    version: int


class JobDocument(Document):
    """A job: one step of a task, sent to the component that carries it out."""

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
    fault: FaultDocument | None
    dispatched: str
    deadline: str
    finished: str | None
    version: int


class MigrationDocument(Document):
    """A migration: a move of an instance from host to host, or a resize, which may stay on one host."""

    id: str = Field(description="id of the migration, which is that of its task")
    type: str
    status: str
    instance_id: str
    instance_name: str
    project_id: str
    source_id: str
    source_name: str
    destination_id: str = Field(description="id of the destination; empty until the scheduler has chosen one")
    destination_name: str
    old_flavor: str = Field(description="name of the flavor before a resize; empty for a migration")
    new_flavor: str = Field(description="name of the flavor after a resize; empty for a migration")
    confirm_at: str | None = Field(description="when a resize that waits is confirmed automatically; null: never")
    task_id: str
    created: str
    updated: str
    version: int
