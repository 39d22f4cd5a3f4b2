"""Jobs: every step that was sent to a host, a network or the scheduler."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from api.documents.document import page_of
from api.documents.tasks import JobDocument
from api.http.request_context import Given, Project
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
    """What jobs to list."""

    task: str | None = Field(None, max_length=64)
    instance: str | None = Field(None, max_length=255, description="id or name")
    host: str | None = Field(None, max_length=255, description="id or name")
    name: str | None = Field(None, max_length=64, description="such as CreateDisk")
    status: Words | None = Field(None, description="any of: dispatched, started, finished, failed, skipped")


@router.get(
    "/jobs",
    summary="List jobs",
    responses=describe.listed(page_of(VIEW, JobDocument), VIEW, examples.JOB, *describe.NAMED),
)
async def list_jobs(given: Given, project: Project, asked: Annotated[JobList, Query()]) -> Response:
    """The newest first."""
    same = {"task_id": asked.task, "name": asked.name}
    if asked.task:
        await caught_up(given, asked.after)
        await must_be_task(given, asked.task)
    if asked.instance:
        same["instance_id"] = await resolve.ident(given, "instances", asked.instance, project)
    if asked.host:
        same["host_id"] = await resolve.ident(given, "hosts", asked.host, project)
    where = [Condition(column, "=", value) for column, value in same.items() if value]
    if asked.status:
        where.append(Condition("status", "in", asked.status))
    return await page(given, VIEW, asked, where)


@router.get("/jobs/{ident}", summary="Show a job", responses=describe.read(JobDocument, examples.JOB))
async def show_job(
    request: Request, given: Given, project: Project, ident: str, asked: Annotated[One, Query()]
) -> Response:
    """To whom it went, how often, and what became of it."""
    await caught_up(given, asked.after)
    return document(request, await resolve.found(given, VIEW, ident, project), VIEW, asked.fields)
