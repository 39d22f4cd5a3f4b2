"""The routes that every kind of resource has: list, show, history, diff, why, create, update, delete and its actions.

Why generated from the kind: like routes must not differ by accident, and a new kind costs one file in `api/resources`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import APIRouter, Body, Query, Request
from pydantic import Field, create_model
from starlette.responses import Response

from api.documents.document import page_of
from api.documents.events import EventDocument
from api.documents.moments import Causes, Difference
from api.http.names import Name
from api.http.request_context import ProjectDep, RequestContext, RequestContextDep, ServicesDep
from api.openapi import describe, examples
from api.reads import causality, filters, resolve, time_travel
from api.reads.queries import Strict, caught_up, page
from api.resource import ApiResource
from api.services import Services
from api.writes import command_bus
from api.writes.command_bus import CommandRequest
from api.writes.command_responses import CREATED, answer
from domain.core.fields import BYTES, bounds, references, user_fields
from domain.core.messages import Command, Key, derived_id, named_id
from domain.kind import Kind, ListFilter, Unique
from domain.named import heir_of
from projections.views.view import Condition, Either

Route = Callable[..., Awaitable[Response]]
Complete = Callable[[Services, RequestContext, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""Return the fields of a command that no user sets, from the services, the request, and the fields that a user set."""
Narrowed = Callable[[Services, Any, str], Awaitable[Sequence[Condition | Either]]]
"""Return conditions by a list's own parameters, from the services, the parameters and the caller's project."""
Paged = Callable[[Services, Any, Sequence[Condition | Either]], Awaitable[Response | None]]
"""Answer a list's request under these conditions; None for the usual page."""
LONGEST_NAME, LONGEST_TEXT = 255, 1024
STANDARD = ("list", "show", "history", "diff", "why", "create", "update", "delete")


def add_all(router: APIRouter, resource: ApiResource, *but: str) -> None:
    """Add every route that the resource's kind can have, except these."""
    kind = _kind(resource)
    missing = {verb for verb in ("create", "update", "delete") if getattr(kind, verb) is None}
    for verb in STANDARD:
        if verb not in missing and verb not in but:
            ADDERS[verb](router, resource)
    if "actions" not in but:
        add_actions(router, resource)


def add_list(
    router: APIRouter,
    resource: ApiResource,
    says: str = "",
    *,
    by: Sequence[ListFilter] = (),
    more: Mapping[str, tuple[Any, Any]] | None = None,
    narrowed: Narrowed | None = None,
    paged: Paged | None = None,
) -> None:
    """Add the route `GET /KINDS`, the list.

    `by` are the filters of what is no kind of aggregate, in place of a kind's. `more` are parameters of this list
    alone; `narrowed` returns the conditions that they become, and `paged` answers in place of the usual page.
    """
    taken = filters.of_kind(resource.kind) if resource.kind is not None else tuple(by)
    deletable = resource.kind is not None and "deleted" in resource.kind.state.model_fields
    query = filters.list_query(f"{_title(resource.noun)}List", taken, deletable=deletable, **(more or {}))
    says = says or f"{resource.view.capitalize()} are listed with the newest first, unless sorted otherwise."

    async def answered(services: Services, parameters: Any, where: Sequence[Condition | Either]) -> Response:
        if paged is not None and (answer := await paged(services, parameters, where)) is not None:
            return answer
        return await page(services, resource.view, parameters, where)

    async def run(services: ServicesDep, project: ProjectDep, parameters: Any) -> Response:
        # What is named may be what the command that is waited for makes.
        await caught_up(services, parameters.after)
        where: list[Condition | Either] = [*await filters.conditions(services, taken, parameters, project)]
        if narrowed is not None:
            where += await narrowed(services, parameters, project)
        return await answered(services, parameters, where)

    shape = page_of(resource.view, resource.document)
    named = describe.NAMED if any(each.refers for each in taken) or narrowed is not None else ()
    router.add_api_route(
        f"/{resource.view}",
        _route(run, f"list_{resource.view}", says, parameters=Annotated[query, Query()]),
        methods=["GET"],
        summary=f"List {resource.view}",
        responses=describe.listed(shape, resource.view, resource.example, *named),
    )


def add_show(
    router: APIRouter, resource: ApiResource, says: str = "The resource is found by its id or its name."
) -> None:
    """Add the route `GET /KINDS/{ref}`, which also shows the resource as it was at a moment."""

    async def run(
        request: Request,
        services: ServicesDep,
        project: ProjectDep,
        ref: str,
        parameters: Annotated[time_travel.OneAt, Query()],
    ) -> Response:
        return await time_travel.show(request, services, resource.view, ref, project, parameters)

    router.add_api_route(
        f"/{resource.view}/{{ref}}",
        _route(run, f"show_{resource.noun}", says),
        methods=["GET"],
        summary=f"Show {article(resource.noun)}",
        responses=describe.read(resource.document, resource.example),
    )


def add_history(
    router: APIRouter, resource: ApiResource, says: str = "Events of the resource are listed with the oldest first."
) -> None:
    """Add the route `GET /KINDS/{ref}/history`."""

    async def run(
        services: ServicesDep, project: ProjectDep, ref: str, parameters: Annotated[time_travel.History, Query()]
    ) -> Response:
        return await time_travel.history(services, resource.view, ref, project, parameters)

    example = {"events": [examples.EVENT], "next": None}
    router.add_api_route(
        f"/{resource.view}/{{ref}}/history",
        _route(run, f"{resource.noun}_history", says),
        methods=["GET"],
        summary=f"Read everything that happened to {article(resource.noun)}",
        responses=describe.answers(200, page_of("events", EventDocument), example, *describe.NAMED, 422, 504),
    )


def add_diff(router: APIRouter, resource: ApiResource) -> None:
    """Add the route `GET /KINDS/{ref}/diff`."""

    async def run(
        services: ServicesDep, project: ProjectDep, ref: str, parameters: Annotated[time_travel.Between, Query()]
    ) -> Response:
        """The answer lists each field that differs, with both values; parts of fields have dotted names."""
        return await time_travel.difference(services, resource.view, ref, project, parameters)

    router.add_api_route(
        f"/{resource.view}/{{ref}}/diff",
        _route(run, f"{resource.noun}_diff"),
        methods=["GET"],
        summary=f"Read what differs between {article(resource.noun)} at two moments",
        responses=describe.answers(200, Difference, examples.DIFFERENCE, *describe.NAMED, 422, 504),
    )


def add_why(
    router: APIRouter,
    resource: ApiResource,
    says: str = "The chain of causes leads from the commands that began the present state to the present.",
) -> None:
    """Add the route `GET /KINDS/{ref}/why`."""

    async def run(
        services: ServicesDep, project: ProjectDep, ref: str, parameters: Annotated[causality.Why, Query()]
    ) -> Response:
        return await causality.why(services, resource.view, ref, project, parameters)

    router.add_api_route(
        f"/{resource.view}/{{ref}}/why",
        _route(run, f"{resource.noun}_why", says),
        methods=["GET"],
        summary=f"Read why {article(resource.noun)} is as it is",
        responses=describe.answers(200, Causes, examples.CAUSES, *describe.NAMED, 422, 504),
    )


def add_create(
    router: APIRouter,
    resource: ApiResource,
    body: type[Strict] | None = None,
    example: Mapping[str, Any] | None = None,
    says: str = "",
    complete: Complete | None = None,
) -> None:
    """Add the route `POST /KINDS`.

    `body` is the shape of the request, by default the user's fields of the command; `complete` returns the fields that
    no user sets.
    """
    kind = _kind(resource)
    command = kind.create
    assert command is not None
    fields = body or body_of(command, f"{_title(kind.name)}Body")

    async def run(services: ServicesDep, context: RequestContextDep, body: Any) -> Response:
        async def make_command() -> CommandRequest:
            values = await resolve.referred(services, command, body.model_dump(), context.project)
            if complete is not None:
                values |= await complete(services, context, values)
            ident = await new_id(services, kind, context, body.name)
            return CommandRequest(Key(kind.name, ident), command(**values))

        return await answer(
            services, await command_bus.carry_out(services, context, make_command), resource.view, done=CREATED
        )

    shown = dict(example) if example is not None else _example(fields, resource)
    router.add_api_route(
        f"/{resource.view}",
        _route(run, f"create_{kind.name}", says or _help(command), body=Annotated[fields, Body(examples=[shown])]),
        methods=["POST"],
        summary=f"Create {article(kind.name)}",
        **_written(resource, command, CREATED, 400, *((404,) if references(command) else ())),
    )


def add_update(
    router: APIRouter,
    resource: ApiResource,
    body: type[Strict] | None = None,
    example: Mapping[str, Any] | None = None,
    complete: Complete | None = None,
) -> None:
    """Add the route `PATCH /KINDS/{ref}`, as `add_create` adds its own."""
    kind = _kind(resource)
    command = kind.update
    assert command is not None
    fields = body or body_of(command, f"{_title(kind.name)}Change")

    async def run(services: ServicesDep, context: RequestContextDep, ref: str, body: Any) -> Response:
        """Fields that are not given keep their values. If-Match is honoured."""
        values = body.model_dump()
        if complete is not None:
            values |= await complete(services, context, values)
        return await send_command(services, context, resource, ref, command(**values))

    first = next(name for name in fields.model_fields if name in resource.example)
    shown = dict(example) if example is not None else {first: resource.example[first]}
    router.add_api_route(
        f"/{resource.view}/{{ref}}",
        _route(run, f"change_{kind.name}", body=Annotated[fields, Body(examples=[shown])]),
        methods=["PATCH"],
        summary=f"Change {article(kind.name)}",
        **_written(resource, command, 200, 400, 404),
    )


def add_delete(router: APIRouter, resource: ApiResource, says: str = "", summary: str = "") -> None:
    """Add the route `DELETE /KINDS/{ref}`."""
    kind = _kind(resource)
    command = kind.delete
    assert command is not None

    async def run(services: ServicesDep, context: RequestContextDep, ref: str) -> Response:
        return await send_command(services, context, resource, ref, command())

    router.add_api_route(
        f"/{resource.view}/{{ref}}",
        _route(run, f"delete_{kind.name}", says or _help(command)),
        methods=["DELETE"],
        summary=summary or f"Delete {article(kind.name)}",
        **_written(resource, command, 200, 404),
    )


def add_actions(router: APIRouter, resource: ApiResource) -> None:
    """Add the routes `POST /KINDS/{ref}/actions/VERB`, one for each action on an existing resource."""
    kind = _kind(resource)
    for action in kind.actions.values():
        if not action.begins or action.command is kind.delete:
            continue
        act = _act(resource, action.command)
        take_body(act, body_of(action.command, f"{action.command.__name__}Body"))
        router.add_api_route(
            f"/{resource.view}/{{ref}}/actions/{action.name}",
            _route(act, action.name, action.help),
            methods=["POST"],
            status_code=202,
            name=action.name,
            summary=action.help,
            responses=describe.started(400, 404),
        )


def _act(resource: ApiResource, command: type[Command]) -> Route:
    async def run(services: ServicesDep, context: RequestContextDep, ref: str, body: Any = None) -> Response:
        values = body.model_dump() if body is not None else {}
        values = await resolve.referred(services, command, values, context.project)
        return await send_command(services, context, resource, ref, command(**values))

    return run


def take_body(act: Route, fields: type[Strict]) -> None:
    """Let a route whose last parameter is `body` take these fields; without a body only if it requires none of them."""
    needed = [name for name, info in fields.model_fields.items() if info.is_required()]
    example = {
        name: 10 << 30 if BYTES in fields.model_fields[name].metadata else name.removesuffix("_id") for name in needed
    }
    shape: Any = fields if needed else fields | None
    # FastAPI reads a parameter by its annotation and its default.
    act.__annotations__["body"] = Annotated[shape, Body(examples=[example])]
    act.__defaults__ = None if needed else (None,)


def body_of(command: type[Command], title: str) -> type[Strict]:
    """Return the shape of a request with the user's fields of a command; each text has a greatest length."""
    own: dict[str, Any] = {}
    for name, info in user_fields(command).items():
        kind: Any = info.annotation
        if name == "name":
            kind = Name if kind is str else Name | None
        elif kind in (str, str | None) and not bounds(info):
            kind = _bounded(kind, max_length=LONGEST_TEXT)
        own[name] = (kind, info)
    made: type[Strict] = create_model(title, __base__=Strict, __doc__=_help(command), **own)
    return made


def _bounded(kind: Any, **bounds: Any) -> Any:
    text = Annotated[str, Field(**bounds)]
    return text if kind is str else text | None


async def new_id(services: Services, kind: Kind, context: RequestContext, name: str) -> str:
    """Return the id of a new resource: derived from its name if that is unique, otherwise from the request.

    A name that is free again has the id that follows from its last holder's, so that of two requests for a name one is
    refused. A name that is taken has its holder's.
    """
    first = first_id(kind, name, context.project)
    if not first:
        return derived_id(context.command_id, kind.name)
    where = {"project": context.project} if kind.unique is Unique.PROJECT else {}
    latest = await services.store.find(kind.plural, name, where)
    ident = latest[0].id if latest else first
    while (row := await services.store.get(kind.plural, ident)) is not None:
        holder = orjson.loads(row.doc)
        if not holder["deleted"] and holder["name"] == name:
            break
        ident = heir_of(ident)
    return ident


def first_id(kind: Kind, name: str, project: str) -> str:
    """Return the id that the first resource of a name has; empty for a kind whose names are not unique."""
    match kind.unique:
        case Unique.PROJECT:
            return named_id(kind.name, project, name)
        case Unique.EVERYWHERE:
            return named_id(kind.name, name)
        case Unique.NOWHERE:
            return ""


async def send_command(
    services: Services, context: RequestContext, resource: ApiResource, ref: str, command: Command
) -> Response:
    """Send a command to the resource with this id or name, and return the answer to the request.

    Raises NotFound, NameNotUnique, and what the command bus raises.
    """
    kind = _kind(resource)

    async def make_command() -> CommandRequest:
        return CommandRequest(
            Key(kind.name, await resolve.ident(services, resource.view, ref, context.project)), command
        )

    return await answer(services, await command_bus.carry_out(services, context, make_command), resource.view)


def _written(resource: ApiResource, command: type[Command], status: int, *problems: int) -> dict[str, Any]:
    """Return the status and the answers of a route that sends a command: an action becomes a task."""
    if any(action.command is command for action in _kind(resource).actions.values()):
        return {"status_code": 202, "responses": describe.started(*problems)}
    if status == CREATED and _kind(resource).unique is not Unique.NOWHERE:
        problems = (*problems, 409)
    return {
        "status_code": status,
        "responses": describe.done(status, resource.document, resource.example, *problems),
    }


def _example(fields: type[Strict], resource: ApiResource) -> dict[str, Any]:
    """Return an example request: the required fields, with the values of the resource's example."""
    needed = [name for name, info in fields.model_fields.items() if info.is_required()]
    return {name: resource.example[name] for name in needed}


def _kind(resource: ApiResource) -> Kind:
    assert resource.kind is not None
    return resource.kind


F = TypeVar("F", bound=Route)


def _route(function: F, name: str, doc: str = "", **annotations: Any) -> F:
    """Set what FastAPI reads from a function: its name makes the operation's id, its docstring the description."""
    function.__name__ = name
    function.__doc__ = doc or function.__doc__
    # Shapes differ from kind to kind, so that no annotation can be written.
    function.__annotations__.update(annotations)
    return function


def _help(command: type[Command]) -> str:
    return " ".join((command.__doc__ or "").split())


def _title(name: str) -> str:
    return name.title().replace("_", "")


def article(noun: str) -> str:
    """Return a noun with its article: `a flavor`, `an image`."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


ADDERS: dict[str, Callable[[APIRouter, ApiResource], None]] = {
    "list": add_list,
    "show": add_show,
    "history": add_history,
    "diff": add_diff,
    "why": add_why,
    "create": add_create,
    "update": add_update,
    "delete": add_delete,
}
