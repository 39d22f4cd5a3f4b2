"""Instances: boot, read, change and delete them, and start actions on them."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, Query
from pydantic import BaseModel, Field, create_model, field_validator
from starlette.responses import PlainTextResponse, Response

from api import standard
from api.documents.document import page_of
from api.documents.events import EventDocument
from api.documents.instances import Booting, Display, InstanceDocument, Interfaces
from api.http.permissions import needs
from api.http.problems import response
from api.http.request_context import ProjectDep, RequestContext, RequestContextDep, ServicesDep
from api.openapi import describe, examples
from api.reads import resolve, time_travel
from api.reads.queries import JSON, Many, One, Strict, Words, caught_up, page
from api.resource import of_kind
from api.services import Services
from api.writes import boot, command_bus
from api.writes.boot import NAME, BootBody, checked_metadata
from api.writes.command_bus import CommandOutcome
from api.writes.command_responses import problem_of
from domain.core.errors import Invalid
from domain.core.fields import user_fields
from domain.instance.action import InstanceAction, InstanceCommand
from domain.instance.actions import ACTIONS
from domain.instance.actions.lifecycle.boot import BootInstance
from domain.instance.actions.lifecycle.delete import DeleteInstance, HardDeleteInstance
from domain.instance.actions.lifecycle.update import UpdateInstance
from domain.instance.kind import KIND
from projections.views.view import Condition

router = APIRouter(tags=["instances"])

VIEW = "instances"
RESOURCE = of_kind(KIND, InstanceDocument, examples.INSTANCE)
MOST_CONSOLE = 1 << 20
LINES_BYTES = 512
"""Assumed greatest length of a console line in bytes, when the last lines are requested."""


class InstanceList(Many):
    """Parameters of a list of instances."""

    name: str | None = Field(None, max_length=255)
    status: Words | None = Field(None, description="any of these statuses, separated by commas")
    vm_state: Words | None = Field(None, description="any of these values of vm_state, separated by commas")
    flavor_ids: Words | None = Field(None, description="any of these flavors, ids or names, separated by commas")
    host_id: str | None = Field(None, max_length=255)
    host_name: str | None = Field(None, max_length=255)
    image_id: str | None = Field(None, max_length=255, description="id or name")
    ip: str | None = Field(None, max_length=64)
    key_name: str | None = Field(None, max_length=255)
    project_id: str | None = Field(None, max_length=255)
    user_id: str | None = Field(None, max_length=255)
    zone: str | None = Field(None, max_length=255)
    create_date: str | None = Field(None, pattern=r"^\d{0,12},\d{0,12}$", description="from,to: seconds since 1970")
    update_date: str | None = Field(None, pattern=r"^\d{0,12},\d{0,12}$", description="from,to: seconds since 1970")
    at: str | None = Field(
        None,
        max_length=time_travel.LONGEST,
        description="list the instances as they were then: a time, or how long ago; the filters apply to that moment, "
        "limit is at most 100, and skip is not allowed",
    )
    deleted: bool = Field(
        False, description="true: only instances that are deleted, soft or for good; false: only the others"
    )


class InstanceChange(Strict):
    """Fields of an instance to change; the others keep their values."""

    name: str | None = Field(None, min_length=1, max_length=255, pattern=NAME)
    description: str | None = Field(None, max_length=1024)
    metadata: dict[str, str] | None = Field(None, description="new metadata, which replaces all entries")

    @field_validator("metadata")
    @classmethod
    def _limits(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        return checked_metadata(value)


class Deletion(Strict):
    """Parameters of the deletion of an instance."""

    hard: bool = Field(False, description="delete for good, at once")
    ignore: bool = Field(False, description=DeleteInstance.model_fields["ignore"].description)


class Console(Strict):
    """Parameters that say how much of the console to show."""

    lines: int | None = Field(None, ge=1, le=100_000, description="number of last lines to show")
    bytes: int | None = Field(
        None, ge=1, le=MOST_CONSOLE, description="number of last bytes to show; 65536 unless given"
    )
    after: str | None = Field(None, max_length=64)


@router.post(
    "/instances",
    openapi_extra=needs("instance:boot"),
    status_code=202,
    summary="Boot an instance, or several",
    responses=describe.answers(202, Booting, examples.BOOTING, 400, *describe.NAMED, 413, 422, 429),
)
async def boot_instances(
    services: ServicesDep, context: RequestContextDep, body: Annotated[BootBody, Body(examples=[examples.BOOT])]
) -> Response:
    """Each instance becomes a command of its own, all with one correlation id. The answer lists all instances; an
    instance that was refused has a problem."""
    alone = body.count == 1
    numbers = range(1, body.count + 1)
    ids = [context.command_id] if alone else [command_bus.nth_id(context, number) for number in numbers]
    born = boot.births(body, context, ids)
    if context.keyed:
        earlier = await command_bus.earlier(services, context, [context.command_id, command_bus.nth_id(context, 1)])
        if earlier and not alone:
            earlier = await command_bus.earlier(services, context, ids)
        if all(ident in earlier for ident in ids):
            password = await boot.told_password(services, body, born)
            same = [CommandOutcome(ident, earlier[ident].subject, earlier[ident]) for ident in ids]
            return _booting(context, born, same, password)
    command_bus.admit(services, BootInstance, context.project, len(ids))
    commands = await boot.commands(services, context, body, born)
    password = await boot.keep_secrets(services, body, born)
    return _booting(context, born, await command_bus.send(services, context, commands), password)


def _booting(
    context: RequestContext, born: list[boot.Birth], outcomes: list[CommandOutcome], password: str | None
) -> Response:
    told: list[dict[str, Any]] = []
    for birth, outcome in zip(born, outcomes, strict=True):
        decided = outcome.verdict
        one = {"instance_id": birth.instance_id, "name": birth.name, "command_id": birth.command_id}
        if decided is not None and decided.verdict == "refused":
            one["problem"] = problem_of(decided)  # type: ignore[assignment]
        elif decided is not None and decided.task_id:
            one["task_id"] = decided.task_id
        told.append(one)
    if all("problem" in one for one in told):
        return response(told[0]["problem"])
    answered: dict[str, Any] = {"correlation_id": context.command_id, "instances": told}
    if password is not None:
        answered["admin_password"] = password
    location = f"/v1/tasks?correlation={context.command_id}"
    if len(told) == 1:
        answered |= {"id": told[0]["instance_id"], **told[0]}
        location = f"/v1/tasks/{told[0]['task_id']}" if "task_id" in told[0] else f"/v1/commands/{context.command_id}"
    return Response(orjson.dumps(answered), 202, {"Location": location}, JSON)


@router.get(
    "/instances",
    summary="List instances",
    responses=describe.listed(page_of(VIEW, InstanceDocument), VIEW, examples.INSTANCE, *describe.NAMED),
)
async def list_instances(
    services: ServicesDep, project: ProjectDep, parameters: Annotated[InstanceList, Query()]
) -> Response:
    """Instances are listed with the newest first. With `at`, those that existed and met the filters at that moment; a
    page may then have fewer instances than its limit, or none, although `next` has the marker of another page."""
    where: list[Condition] = []
    same = {
        "name": parameters.name,
        "host_id": await _id(services, "hosts", parameters.host_id, project),
        "host_name": parameters.host_name,
        "image_id": await _id(services, "images", parameters.image_id, project),
        "key_name": parameters.key_name,
        "project": parameters.project_id,
        "owner": parameters.user_id,
        "zone": parameters.zone,
    }
    where += [Condition(column, "=", value) for column, value in same.items() if value is not None]
    flavors = [await resolve.ident(services, "flavors", each, project) for each in parameters.flavor_ids or ()]
    any_of = {"status": parameters.status, "vm_state": parameters.vm_state, "flavor_id": flavors}
    where += [Condition(column, "in", values) for column, values in any_of.items() if values]
    if parameters.ip:
        where.append(Condition("ips", "contains", parameters.ip))
    where += _between("created", parameters.create_date) + _between("updated", parameters.update_date)
    if parameters.at is not None:
        return await time_travel.listed(services, VIEW, parameters, parameters.at, where, deleted=parameters.deleted)
    return await page(services, VIEW, parameters, [Condition("deleted", "=", parameters.deleted), *where])


async def _id(services: Services, view: str, ref: str | None, project: str) -> str | None:
    return None if ref is None else await resolve.ident(services, view, ref, project)


def _between(column: str, dates: str | None) -> list[Condition]:
    since, _, until = (dates or ",").partition(",")
    found = []
    if since:
        found.append(Condition(column, ">=", datetime.fromtimestamp(int(since), UTC)))
    if until:
        found.append(Condition(column, "<=", datetime.fromtimestamp(int(until), UTC)))
    return found


standard.add_show(
    router, RESOURCE, "The instance is found by its id, also after its deletion, or by its name until then."
)
standard.add_diff(router, RESOURCE)
standard.add_why(
    router,
    RESOURCE,
    "The chain of causes leads from the command that began the present state, over scheduler, network and host, "
    "to the\npresent.",
)


@router.patch(
    "/instances/{ref}",
    summary="Change an instance's name, description or metadata",
    responses=describe.done(200, InstanceDocument, examples.INSTANCE, 400, 404),
)
async def change_instance(
    services: ServicesDep,
    context: RequestContextDep,
    ref: str,
    body: Annotated[InstanceChange, Body(examples=[{"description": "in front of the shop"}])],
) -> Response:
    """Fields that are not given keep their values. If-Match is honoured."""
    return await standard.send_command(services, context, RESOURCE, ref, UpdateInstance(**body.model_dump()))


@router.delete("/instances/{ref}", status_code=202, summary="Delete an instance", responses=describe.started(404))
async def delete_instance(
    services: ServicesDep, context: RequestContextDep, ref: str, how: Annotated[Deletion, Query()]
) -> Response:
    """The deletion is soft: the instance can be restored until it is purged. With `hard`, it is deleted for good."""
    command: InstanceCommand = HardDeleteInstance(ignore=how.ignore)
    if not how.hard:
        command = DeleteInstance(ignore=how.ignore, keep_for=services.settings.instances.purge_after)
    return await standard.send_command(services, context, RESOURCE, ref, command)


def _act(action: InstanceAction, fields: type[BaseModel]) -> Callable[..., Awaitable[Response]]:
    async def act(
        services: ServicesDep,
        context: RequestContextDep,
        ref: str,
        body: Annotated[Any, Body(examples=[{}])] = None,
    ) -> Response:
        values = body.model_dump() if body is not None else {}
        values = await resolve.referred(services, action.command, values, context.project)
        if action.command is DeleteInstance:
            values["keep_for"] = services.settings.instances.purge_after
        return await standard.send_command(services, context, RESOURCE, ref, action.command(**values))

    # FastAPI reads the body by this annotation, which differs from verb to verb.
    act.__annotations__["body"] = Annotated[fields | None, Body(examples=[{}])]
    act.__doc__ = action.help
    return act


def _fields(action: InstanceAction) -> type[BaseModel]:
    """Return the shape of a verb's request: the fields of its command that users set."""
    own: dict[str, Any] = {name: (info.annotation, info) for name, info in user_fields(action.command).items()}
    return create_model(f"{action.command.__name__}Body", __base__=Strict, __doc__=action.help, **own)


for _action in ACTIONS.values():
    if _action.command is not BootInstance:
        router.add_api_route(
            f"/instances/{{ref}}/actions/{_action.name}",
            _act(_action, _fields(_action)),
            methods=["POST"],
            status_code=202,
            name=_action.name,
            summary=_action.help,
            responses=describe.started(400, 404),
        )


@router.get(
    "/instances/{ref}/console-log",
    summary="Read the guest's console",
    response_class=PlainTextResponse,
    responses=describe.text("Booting the kernel…\nlogin:\n", *describe.NAMED, 422, 502),
)
async def console_log(
    services: ServicesDep, project: ProjectDep, ref: str, parameters: Annotated[Console, Query()]
) -> Response:
    """The answer is the end of the console's output, as the host has it now."""
    await caught_up(services, parameters.after)
    instance = await _document(services, ref, project)
    if parameters.lines is None:
        text = await services.agents.console(instance, parameters.bytes or 65536)
    else:
        most = min(max(parameters.lines * LINES_BYTES, 65536), MOST_CONSOLE)
        text = b"".join((await services.agents.console(instance, most)).splitlines(keepends=True)[-parameters.lines :])
    return Response(text, media_type="text/plain; charset=utf-8")


@router.post(
    "/instances/{ref}/vnc",
    summary="Open the instance's display",
    responses=describe.answers(200, Display, examples.DISPLAY, *describe.NAMED, 502),
)
async def vnc(services: ServicesDep, project: ProjectDep, ref: str) -> Response:
    """The answer has the address of the display and a new password, which is valid for some seconds."""
    instance = await _document(services, ref, project)
    return Response(await services.agents.vnc(instance), media_type=JSON, headers={"Cache-Control": "no-store"})


@router.get(
    "/instances/{ref}/interfaces",
    summary="List an instance's network interfaces",
    responses=describe.answers(200, Interfaces, {"interfaces": [examples.NIC]}, 404, 504),
)
async def interfaces(
    services: ServicesDep, project: ProjectDep, ref: str, parameters: Annotated[One, Query()]
) -> Response:
    """Network interfaces are listed in the guest's order."""
    await caught_up(services, parameters.after)
    nics = (await _document(services, ref, project))["nics"]
    if parameters.fields:
        for name in parameters.fields:
            if name not in examples.NIC:
                raise Invalid(field="fields", value=name, allowed=f"interfaces have {', '.join(examples.NIC)}")
        nics = [{name: nic[name] for name in parameters.fields} for nic in nics]
    return Response(orjson.dumps({"interfaces": nics}), media_type=JSON)


@router.get(
    "/instances/{ref}/history",
    summary="Read everything that happened to an instance",
    responses=describe.answers(
        200, page_of("events", EventDocument), {"events": [examples.EVENT], "next": None}, *describe.NAMED, 422, 504
    ),
)
async def history(
    services: ServicesDep, project: ProjectDep, ref: str, parameters: Annotated[time_travel.History, Query()]
) -> Response:
    """Events of the instance are listed with the oldest first."""
    return await time_travel.history(services, VIEW, ref, project, parameters)


async def _document(services: Services, ref: str, project: str) -> dict[str, Any]:
    found = await resolve.found(services, VIEW, ref, project)
    doc: dict[str, Any] = orjson.loads(found.doc)
    return doc
