"""Migrations: every move of an instance from host to host, and how far it is."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from api.documents.document import page_of
from api.documents.tasks import MigrationDocument
from api.http.request_context import Given, Project
from api.openapi import describe, examples
from api.reads import resolve
from api.reads.queries import Many, One, Words, caught_up, document, page
from api.resource import ApiResource
from domain.instance.migration import MigrationStatus
from projections.views.view import Condition, Either

router = APIRouter(tags=["migrations"])

VIEW = "migrations"
RESOURCE = ApiResource(VIEW, "migration", MigrationDocument, examples.MIGRATION)


class MigrationList(Many):
    """Filters of a list of migrations."""

    instance: str | None = Field(None, max_length=255, description="id or name")
    host: str | None = Field(None, max_length=255, description="from there or to there: id or name")
    status: Words | None = Field(None, description=f"any of: {', '.join(MigrationStatus)}")
    project_id: str | None = Field(None, max_length=255)


@router.get(
    "/migrations",
    summary="List migrations",
    responses=describe.listed(page_of(VIEW, MigrationDocument), VIEW, examples.MIGRATION, *describe.NAMED),
)
async def list_migrations(given: Given, project: Project, asked: Annotated[MigrationList, Query()]) -> Response:
    """The newest migrations come first."""
    where: list[Condition | Either] = []
    if asked.instance:
        where.append(Condition("instance_id", "=", await resolve.ident(given, "instances", asked.instance, project)))
    if asked.host:
        host = await resolve.ident(given, "hosts", asked.host, project)
        where.append(Either((Condition("source_id", "=", host), Condition("destination_id", "=", host))))
    if asked.status:
        where.append(Condition("status", "in", asked.status))
    if asked.project_id:
        where.append(Condition("project", "=", asked.project_id))
    return await page(given, VIEW, asked, where)


@router.get(
    "/migrations/{ident}",
    summary="Show a migration",
    responses=describe.read(MigrationDocument, examples.MIGRATION),
)
async def show_migration(
    request: Request, given: Given, project: Project, ident: str, asked: Annotated[One, Query()]
) -> Response:
    """From where to where, and how far it is."""
    await caught_up(given, asked.after)
    return document(request, await resolve.found(given, VIEW, ident, project), VIEW, asked.fields)
