"""Jobs: the steps of tasks, each sent to a host, a network or the scheduler."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from api import standard
from api.documents.tasks import JobDocument
from api.http.request_context import ProjectDep, ServicesDep
from api.openapi import describe, examples
from api.reads import resolve
from api.reads.queries import One, caught_up, document, must_be_task
from api.resource import ApiResource
from api.services import Services
from domain.kind import ListFilter
from domain.tasks.job import JOBS
from projections.views.view import Condition

router = APIRouter(tags=["jobs"])

VIEW = "jobs"
RESOURCE = ApiResource(VIEW, "job", JobDocument, examples.JOB)


FILTERS = (
    ListFilter("instance", "of this instance (name or id)", column="instance_id", refers="instance"),
    ListFilter("host", "sent to this host (name or id)", column="host_id", refers="host"),
    ListFilter("name", "with this name; * stands for anything, as in Create*", several=True, values=tuple(JOBS)),
    ListFilter(
        "status",
        "in one of these statuses",
        several=True,
        values=("dispatched", "started", "finished", "failed", "skipped"),
    ),
)
TASK = Field(None, max_length=64, description="of this task (id)")


async def _of_task(services: Services, parameters: Any, project: str) -> list[Condition]:
    """Return the condition on the task, if one was named. Raises NotFound, NotAppliedYet."""
    if not parameters.task:
        return []
    await must_be_task(services, parameters.task)
    return [Condition("task_id", "=", parameters.task)]


standard.add_list(router, RESOURCE, by=FILTERS, more={"task": (str | None, TASK)}, narrowed=_of_task)


@router.get("/jobs/{ident}", summary="Show a job", responses=describe.read(JobDocument, examples.JOB))
async def show_job(
    request: Request, services: ServicesDep, project: ProjectDep, ident: str, parameters: Annotated[One, Query()]
) -> Response:
    """The job is shown with its receiver, its attempts and its result."""
    await caught_up(services, parameters.after)
    return document(request, await resolve.found(services, VIEW, ident, project), VIEW, parameters.fields)
