"""Tasks: actions that take time; users read and cancel them."""

from contextlib import suppress
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api import standard
from api.documents.document import page_of
from api.documents.events import EventDocument
from api.documents.moments import Causes, Difference
from api.documents.tasks import TaskDocument
from api.http.request_context import ProjectDep, RequestContextDep, ServicesDep
from api.openapi import describe, examples
from api.reads import causality, resolve, time_travel
from api.reads.filters import PROJECT
from api.reads.queries import must_be_task
from api.resource import ApiResource
from api.services import Services
from api.writes import command_bus
from api.writes.command_bus import CommandRequest
from api.writes.command_responses import answer
from domain.aggregates import AGGREGATES
from domain.core.errors import NotFound
from domain.core.messages import Key
from domain.kind import ListFilter
from domain.tasks.events import CancelTask
from projections.views.view import Condition

router = APIRouter(tags=["tasks"])

VIEW = "tasks"
RESOURCE = ApiResource(VIEW, "task", TaskDocument, examples.TASK)


STATUSES = ("queued", "running", "cancelling", "undoing", "finished", "failed", "cancelled")
ACTIONS = tuple(sorted({action for kind in AGGREGATES.values() for action in kind.actions}))
FILTERS = (
    ListFilter("status", "in one of these statuses", several=True, values=STATUSES),
    ListFilter("instance", "of this instance (name or id)", column="instance_id", refers="instance"),
    ListFilter("action", "of this action", values=ACTIONS),
    PROJECT,
    ListFilter("correlation", "of the request with this correlation id"),
)


async def _asked_for(services: Services, parameters: Any, project: str) -> list[Condition]:
    """Wait for the tasks of a request, if one was named: the answer to a boot of several names this list, and may be
    ahead of the read models."""
    if parameters.correlation:
        with suppress(NotFound):
            await must_be_task(services, parameters.correlation)
    return []


standard.add_list(router, RESOURCE, by=FILTERS, narrowed=_asked_for)


@router.get("/tasks/{ident}", summary="Show a task", responses=describe.read(TaskDocument, examples.TASK))
async def show_task(
    request: Request,
    services: ServicesDep,
    project: ProjectDep,
    ident: str,
    parameters: Annotated[time_travel.OneAt, Query()],
) -> Response:
    """The task is shown with its progress and, once it has ended, its result."""
    return await time_travel.show(request, services, VIEW, ident, project, parameters)


@router.get(
    "/tasks/{ident}/history",
    summary="Read everything that a task led to",
    responses=describe.answers(
        200, page_of("events", EventDocument), {"events": [examples.EVENT], "next": None}, *describe.NAMED, 422, 504
    ),
)
async def task_history(
    services: ServicesDep, project: ProjectDep, ident: str, parameters: Annotated[time_travel.History, Query()]
) -> Response:
    """Events are listed with the oldest first, including those of the resources that the task worked on."""
    return await time_travel.history(services, VIEW, ident, project, parameters)


@router.get(
    "/tasks/{ident}/diff",
    summary="Read what differs between a task at two moments",
    responses=describe.answers(200, Difference, examples.DIFFERENCE, *describe.NAMED, 422, 504),
)
async def task_diff(
    services: ServicesDep, project: ProjectDep, ident: str, parameters: Annotated[time_travel.Between, Query()]
) -> Response:
    """The answer lists each field that differs, with both values; parts of fields have dotted names."""
    return await time_travel.difference(services, VIEW, ident, project, parameters)


@router.get(
    "/tasks/{ident}/why",
    summary="Read why a task is as it is",
    responses=describe.answers(200, Causes, examples.CAUSES, *describe.NAMED, 422, 504),
)
async def task_why(
    services: ServicesDep, project: ProjectDep, ident: str, parameters: Annotated[causality.Why, Query()]
) -> Response:
    """The chain of causes leads from the command that began the task, over scheduler, network and host, to its end."""
    return await causality.why(services, VIEW, ident, project, parameters)


@router.post(
    "/tasks/{ident}/cancel",
    summary="Stop a task and undo what it did",
    responses=describe.done(200, TaskDocument, examples.TASK, 404),
)
async def cancel_task(services: ServicesDep, context: RequestContextDep, ident: str) -> Response:
    """The running step is waited for, then the steps are undone in reverse order; the task ends as cancelled."""

    async def make_command() -> CommandRequest:
        found = await resolve.found(services, VIEW, ident, context.project)
        return CommandRequest(Key.parse(orjson.loads(found.doc)["subject"]), CancelTask(task_id=found.id))

    return await answer(services, await command_bus.carry_out(services, context, make_command), VIEW, ident)
