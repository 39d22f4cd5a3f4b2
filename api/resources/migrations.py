"""Migrations: moves of instances from host to host, with their progress."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from api import standard
from api.documents.tasks import MigrationDocument
from api.http.request_context import ProjectDep, ServicesDep
from api.openapi import describe, examples
from api.reads import resolve
from api.reads.filters import PROJECT
from api.reads.queries import One, caught_up, document
from api.resource import ApiResource
from api.services import Services
from domain.instance.migration import MigrationStatus, MigrationType
from domain.kind import ListFilter
from projections.views.view import Condition, Either

router = APIRouter(tags=["migrations"])

VIEW = "migrations"
RESOURCE = ApiResource(VIEW, "migration", MigrationDocument, examples.MIGRATION)


FILTERS = (
    ListFilter("instance", "of this instance (name or id)", column="instance_id", refers="instance"),
    ListFilter("status", "in one of these statuses", several=True, values=tuple(MigrationStatus)),
    ListFilter("type", "of one of these types", several=True, values=tuple(MigrationType)),
    PROJECT,
)
HOST = Field(None, max_length=255, description="from or to this host (name or id)")


async def _of_host(services: Services, parameters: Any, project: str) -> list[Either]:
    """Return the condition on either host, if one was named. Raises NotFound, NameNotUnique."""
    if not parameters.host:
        return []
    host = await resolve.ident(services, "hosts", parameters.host, project)
    return [Either((Condition("source_id", "=", host), Condition("destination_id", "=", host)))]


standard.add_list(router, RESOURCE, by=FILTERS, more={"host": (str | None, HOST)}, narrowed=_of_host)


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
