"""Jobs: the steps of tasks, each sent to a host, a network or the scheduler."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from api.documents.document import page_of
from api.documents.tasks import JobDocument
from api.http.request_context import ProjectDep, ServicesDep
from api.openapi import describe, examples
from api.reads import resolve
from api.reads.queries import (
    Many,
    One,
    Words,
    caught_up,
    document,
    must_be_task,
    page,
)
from api.resource import ApiResource
from projections.views.view import Condition

router = APIRouter(tags=["jobs"])

VIEW = "jobs"
RESOURCE = ApiResource(VIEW, "job", JobDocument, examples.JOB)


class JobList(Many):
    """Parameters of a list of jobs."""

    task: str | None = Field(None, max_length=64)
    instance: str | None = Field(None, max_length=255, description="id or name")
    host: str | None = Field(None, max_length=255, description="id or name")
    name: str | None = Field(None, max_length=64, description="name of the job, such as CreateDisk")
    status: Words | None = Field(None, description="any of: dispatched, started, finished, failed, skipped")


@router.get(
    "/jobs",
    summary="List jobs",
    responses=describe.listed(page_of(VIEW, JobDocument), VIEW, examples.JOB, *describe.NAMED),
)
async def list_jobs(services: ServicesDep, project: ProjectDep, parameters: Annotated[JobList, Query()]) -> Response:
    """Jobs are listed with the newest first."""
    same = {"task_id": parameters.task, "name": parameters.name}
    if parameters.task:
        await caught_up(services, parameters.after)
        await must_be_task(services, parameters.task)
    if parameters.instance:
        same["instance_id"] = await resolve.ident(services, "instances", parameters.instance, project)
    if parameters.host:
        same["host_id"] = await resolve.ident(services, "hosts", parameters.host, project)
    where = [Condition(column, "=", value) for column, value in same.items() if value]
    if parameters.status:
        where.append(Condition("status", "in", parameters.status))
    return await page(services, VIEW, parameters, where)


@router.get("/jobs/{ident}", summary="Show a job", responses=describe.read(JobDocument, examples.JOB))
async def show_job(
    request: Request, services: ServicesDep, project: ProjectDep, ident: str, parameters: Annotated[One, Query()]
) -> Response:
    """The job is shown with its receiver, its attempts and its result."""
    await caught_up(services, parameters.after)
    return document(request, await resolve.found(services, VIEW, ident, project), VIEW, parameters.fields)
