"""Tasks: what takes time; to be looked at, and to be stopped."""

from typing import Annotated

import orjson
from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from api.documents.document import page_of
from api.documents.events import EventDocument
from api.documents.moments import Causes, Difference
from api.documents.tasks import TaskDocument
from api.http.request_context import Asking, Given, Project
from api.openapi import describe, examples
from api.reads import causality, resolve, time_travel
from api.reads.queries import Many, Words, page
from api.resource import ApiResource
from api.writes import command_bus
from api.writes.command_bus import Wish
from api.writes.command_responses import answer
from domain.core.messages import Key
from domain.tasks.events import CancelTask
from projections.views.view import Condition

router = APIRouter(tags=["tasks"])

VIEW = "tasks"
RESOURCE = ApiResource(VIEW, "task", TaskDocument, examples.TASK)


class TaskList(Many):
    """What tasks to list."""

    status: Words | None = Field(
        None, description="any of: queued, running, cancelling, undoing, finished, failed, cancelled"
    )
    instance: str | None = Field(None, max_length=255, description="id or name")
    action: str | None = Field(None, max_length=64)
    project_id: str | None = Field(None, max_length=255)
    correlation: str | None = Field(None, max_length=64, description="those of one request")


@router.get(
    "/tasks",
    summary="List tasks",
    responses=describe.listed(page_of(VIEW, TaskDocument), VIEW, examples.TASK, *describe.NAMED),
)
async def list_tasks(given: Given, project: Project, asked: Annotated[TaskList, Query()]) -> Response:
    """The newest first."""
    same = {"action": asked.action, "project": asked.project_id, "correlation": asked.correlation}
    if asked.instance:
        same["instance_id"] = await resolve.ident(given, "instances", asked.instance, project)
    where = [Condition(column, "=", value) for column, value in same.items() if value]
    if asked.status:
        where.append(Condition("status", "in", asked.status))
    return await page(given, VIEW, asked, where)


@router.get("/tasks/{ident}", summary="Show a task", responses=describe.read(TaskDocument, examples.TASK))
async def show_task(
    request: Request, given: Given, project: Project, ident: str, asked: Annotated[time_travel.OneAt, Query()]
) -> Response:
    """How far it is, and how it ended."""
    return await time_travel.show(request, given, VIEW, ident, project, asked)


@router.get(
    "/tasks/{ident}/history",
    summary="Read everything that a task led to",
    responses=describe.answers(
        200, page_of("events", EventDocument), {"events": [examples.EVENT], "next": None}, *describe.NAMED, 422, 504
    ),
)
async def task_history(
    given: Given, project: Project, ident: str, asked: Annotated[time_travel.History, Query()]
) -> Response:
    """The oldest first; also events of what it worked with."""
    return await time_travel.history(given, VIEW, ident, project, asked)


@router.get(
    "/tasks/{ident}/diff",
    summary="Read what differs between a task at two moments",
    responses=describe.answers(200, Difference, examples.DIFFERENCE, *describe.NAMED, 422, 504),
)
async def task_diff(
    given: Given, project: Project, ident: str, asked: Annotated[time_travel.Between, Query()]
) -> Response:
    """Field by field; parts of fields under dotted names."""
    return await time_travel.difference(given, VIEW, ident, project, asked)


@router.get(
    "/tasks/{ident}/why",
    summary="Read why a task is as it is",
    responses=describe.answers(200, Causes, examples.CAUSES, *describe.NAMED, 422, 504),
)
async def task_why(given: Given, project: Project, ident: str, asked: Annotated[causality.Why, Query()]) -> Response:
    """From the command that asked for it over scheduler, network and host to what it ended as."""
    return await causality.why(given, VIEW, ident, project, asked)


@router.post(
    "/tasks/{ident}/cancel",
    summary="Stop a task and undo what it did",
    responses=describe.done(200, TaskDocument, examples.TASK, 404),
)
async def cancel_task(given: Given, asked: Asking, ident: str) -> Response:
    """What is on its way is waited for, then the steps are undone in reverse; the task ends as cancelled."""

    async def wish() -> Wish:
        found = await resolve.found(given, VIEW, ident, asked.project)
        return Wish(Key.parse(orjson.loads(found.doc)["subject"]), CancelTask(task_id=found.id))

    return await answer(given, await command_bus.carry_out(given, asked, wish), VIEW, ident)
