"""Instances: boot, read, change and delete them, and start actions on them."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, Query
from pydantic import Field, field_validator
from starlette.responses import PlainTextResponse, Response

from api import standard
from api.documents.document import page_of
from api.documents.events import EventDocument
from api.documents.instances import (
    Booting,
    Cloning,
    Display,
    InstanceDocument,
    InterfaceDocument,
    Interfaces,
    LocalDisksDocument,
)
from api.http.names import Name
from api.http.patterns import LIKE_A_TIME
from api.http.permissions import needs
from api.http.problems import response
from api.http.request_context import ProjectDep, RequestContext, RequestContextDep, ServicesDep
from api.openapi import describe, examples
from api.reads import resolve, time_travel
from api.reads.interfaces import interfaces_of
from api.reads.queries import JSON, After, One, Strict, caught_up, known_of
from api.resource import of_kind
from api.services import Services
from api.writes import boot, clone, command_bus
from api.writes.boot import BootBody, checked_metadata
from api.writes.command_bus import CommandOutcome, CommandRequest
from api.writes.command_responses import answer, problem_of
from domain.core.messages import Command, Key
from domain.core.paths import pick
from domain.core.times import FORMS as TIMES
from domain.instance.action import InstanceAction, InstanceCommand
from domain.instance.actions import ACTIONS
from domain.instance.actions.lifecycle.boot import BootInstance
from domain.instance.actions.lifecycle.delete import DeleteInstance, HardDeleteInstance
from domain.instance.actions.lifecycle.shelve import ShelveInstance
from domain.instance.actions.lifecycle.update import UpdateInstance
from domain.instance.actions.placement.resize import ResizeInstance
from domain.instance.actions.storage.clone import CloneInstance
from domain.instance.kind import KIND
from projections.views.view import Condition, Either

router = APIRouter(tags=["instances"])

VIEW = "instances"
RESOURCE = of_kind(KIND, InstanceDocument, examples.INSTANCE)
MOST_CONSOLE = 1 << 20
LINES_BYTES = 512
"""Assumed greatest length of a console line in bytes, when the last lines are requested."""

FROM_SETTINGS: dict[type[Command], tuple[str, str]] = {
    DeleteInstance: ("keep_for", "purge_after"),
    ResizeInstance: ("confirm_after", "resize_confirm_after"),
    ShelveInstance: ("offload_after", "offload_after"),
}
"""Command -> its field that no user sets, and the setting of instances that fills it in."""


class InstanceChange(Strict):
    """Fields of an instance to change; the others keep their values."""

    name: Name | None = None
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
    after: After = None


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
            password = await boot.told_password(services, context, body)
            same = [CommandOutcome(ident, earlier[ident].subject, earlier[ident]) for ident in ids]
            return _booting(context, born, same, password)
    command_bus.admit(services, BootInstance, context.project, len(ids))
    commands = await boot.commands(services, context, body, born)
    password = await boot.keep_secrets(services, context, body, born)
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


async def _at_a_moment(services: Services, parameters: Any, where: Sequence[Condition | Either]) -> Response | None:
    """Answer with the instances as they were at a moment, if one was named."""
    if parameters.at is None:
        return None
    return await time_travel.listed(services, VIEW, parameters, parameters.at, where)


AT = Field(
    None,
    max_length=time_travel.LONGEST,
    description=f"list the instances as they were then; the filters apply to that moment, limit is at most "
    f"{time_travel.MOST_AT}, and neither sort nor skip is allowed: {TIMES}",
    json_schema_extra=LIKE_A_TIME,
)
standard.add_list(
    router,
    RESOURCE,
    "Instances are listed with the newest first, unless sorted otherwise. With `at`, those that existed and met the "
    "filters at that moment; a page may then have fewer instances than its limit, or none, although `next` has the "
    "marker of another page.",
    more={"at": (str | None, AT)},
    paged=_at_a_moment,
)
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
    """Fields that are not given keep their values. The guest's metadata service has a new name or new metadata at once,
    its config drive when it is started again. If-Match is honoured."""
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


def _act(action: InstanceAction, fields: type[Strict]) -> Callable[..., Awaitable[Response]]:
    async def act(services: ServicesDep, context: RequestContextDep, ref: str, body: Any = None) -> Response:
        values = body.model_dump() if body is not None else {}
        values = await resolve.referred(services, action.command, values, context.project)
        if action.command in FROM_SETTINGS:
            field, setting = FROM_SETTINGS[action.command]
            values[field] = getattr(services.settings.instances, setting)
        return await standard.send_command(services, context, RESOURCE, ref, action.command(**values))

    standard.take_body(act, fields)
    act.__doc__ = action.help
    return act


for _action in ACTIONS.values():
    if not _action.creates and not _action.own_request:
        router.add_api_route(
            f"/instances/{{ref}}/actions/{_action.name}",
            _act(_action, standard.body_of(_action.command, f"{_action.command.__name__}Body")),
            methods=["POST"],
            status_code=202,
            name=_action.name,
            summary=_action.help,
            responses=describe.started(400, 404),
        )


@router.post(
    "/instances/{ref}/actions/clone",
    status_code=202,
    name="clone",
    summary=CloneInstance.__doc__ or "",
    responses=describe.answers(202, Cloning, examples.CLONING, 400, *describe.NAMED, 413, 422, 429),
)
async def clone_instance(
    services: ServicesDep, context: RequestContextDep, ref: str, body: Annotated[clone.CloneBody, Body(examples=[{}])]
) -> Response:
    """The answer names the clones, which exist once the disk was read; each then boots by a task of its own."""
    source = await _document(services, ref, context.project)
    asked = clone.as_boot(body, source)
    born = clone.births(context, asked)
    more: dict[str, Any] = {"clones": [{"id": each.instance_id, "name": each.name} for each in born]}

    async def make_command() -> CommandRequest:
        command = await clone.command(services, context, source, body, asked, born)
        password = await boot.keep_secrets(services, context, asked, born)
        if password is not None:
            more["admin_password"] = password
        return CommandRequest(Key(KIND.name, source["id"]), command)

    outcome = await command_bus.carry_out(services, context, make_command)
    if "admin_password" not in more and (password := await boot.told_password(services, context, asked)):
        more["admin_password"] = password
    return await answer(services, outcome, VIEW, more=more)


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
    "/instances/{ref}/local-disks",
    summary="List an instance's local disks",
    responses=describe.answers(200, LocalDisksDocument, {"disks": [examples.LOCAL_DISK]}, *describe.NAMED, 502),
)
async def local_disks(services: ServicesDep, project: ProjectDep, ref: str) -> Response:
    """The answer has the files on the disk of the instance's host, as that finds them now: the root disk first."""
    found = await services.agents.local_disks(await _document(services, ref, project))
    return Response(orjson.dumps(found.model_dump()), media_type=JSON)


@router.get(
    "/instances/{ref}/interfaces",
    summary="List an instance's network interfaces",
    responses=describe.answers(200, Interfaces, {"interfaces": [examples.INTERFACE]}, 404, 504),
)
async def interfaces(
    services: ServicesDep, project: ProjectDep, ref: str, parameters: Annotated[One, Query()]
) -> Response:
    """Every network interface is listed, in the guest's order. A soft-deleted instance keeps its own."""
    names = known_of(InterfaceDocument, parameters.fields)
    await caught_up(services, parameters.after)
    nics = await interfaces_of(services, await _document(services, ref, project))
    if names:
        nics = [{name: pick(nic, name) for name in names} for nic in nics]
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
