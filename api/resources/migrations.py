"""Migrations: moves of instances from host to host, with their progress."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from api.documents.document import page_of
from api.documents.tasks import MigrationDocument
from api.http.request_context import ProjectDep, ServicesDep
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
    """Parameters of a list of migrations."""

    instance: str | None = Field(None, max_length=255, description="id or name")
    host: str | None = Field(None, max_length=255, description="source or destination: id or name")
    status: Words | None = Field(None, description=f"any of: {', '.join(MigrationStatus)}")
    project_id: str | None = Field(None, max_length=255)


@router.get(
    "/migrations",
    summary="List migrations",
    responses=describe.listed(page_of(VIEW, MigrationDocument), VIEW, examples.MIGRATION, *describe.NAMED),
)
async def list_migrations(
    services: ServicesDep, project: ProjectDep, parameters: Annotated[MigrationList, Query()]
) -> Response:
    """Migrations are listed with the newest first."""
    where: list[Condition | Either] = []
    if parameters.instance:
        where.append(
            Condition("instance_id", "=", await resolve.ident(services, "instances", parameters.instance, project))
        )
    if parameters.host:
        host = await resolve.ident(services, "hosts", parameters.host, project)
        where.append(Either((Condition("source_id", "=", host), Condition("destination_id", "=", host))))
    if parameters.status:
        where.append(Condition("status", "in", parameters.status))
    if parameters.project_id:
        where.append(Condition("project", "=", parameters.project_id))
    return await page(services, VIEW, parameters, where)


@router.get(
    "/migrations/{ident}",
    summary="Show a migration",
    responses=describe.read(MigrationDocument, examples.MIGRATION),
)
async def show_migration(
    request: Request, services: ServicesDep, project: ProjectDep, ident: str, parameters: Annotated[One, Query()]
) -> Response:
    """The migration is shown with its source, its destination and its status."""
    await caught_up(services, parameters.after)
    return document(request, await resolve.found(services, VIEW, ident, project), VIEW, parameters.fields)
