"""Instances: boot them, read them, change them, do things to them."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, Query, Request
from pydantic import BaseModel, Field, create_model, field_validator
from starlette.responses import PlainTextResponse, Response

from api.documents.document import page_of
from api.documents.events import EventDocument
from api.documents.instances import Booting, Display, InstanceDocument, Interfaces
from api.documents.moments import Causes, Difference
from api.http.permissions import needs
from api.http.problems import response
from api.http.request_context import Asked, Asking, Given, Project
from api.openapi import describe, examples
from api.reads import causality, resolve, time_travel
from api.reads.queries import JSON, Many, One, Strict, Words, caught_up, page
from api.resource import of_kind
from api.services import Services
from api.writes import boot, command_bus
from api.writes.boot import NAME, BootBody, checked_metadata
from api.writes.command_bus import Outcome, Wish
from api.writes.command_responses import answer, problem_of
from domain.core.errors import Invalid
from domain.core.fields import user_fields
from domain.core.messages import Key
from domain.instance.action import InstanceAction
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
"""Bytes that a console line has at most, for as long as few enough are asked for."""


class InstanceList(Many):
    """What instances to list."""

    name: str | None = Field(None, max_length=255)
    status: Words | None = Field(None, description="any of these statuses")
    vm_state: Words | None = Field(None, description="any of these inner statuses")
    flavor_ids: Words | None = Field(None, description="any of these flavors, ids or names")
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
        description="what was there then: a time, or how long ago; the filters are held to what was then, limit is at "
        "most 100, and there is no skip",
    )
    deleted: bool = Field(False, description="those that are deleted, soft or for good, instead of the others")


class InstanceChange(Strict):
    """What to change; what is not given stays."""

    name: str | None = Field(None, min_length=1, max_length=255, pattern=NAME)
    description: str | None = Field(None, max_length=1024)
    metadata: dict[str, str] | None = Field(None, description="replaces all of it")

    @field_validator("metadata")
    @classmethod
    def _limits(cls, given: dict[str, str] | None) -> dict[str, str] | None:
        return checked_metadata(given)


class Deletion(Strict):
    """How to delete."""

    hard: bool = Field(False, description="for good, at once")
    ignore: bool = Field(False, description=DeleteInstance.model_fields["ignore"].description)


class Console(Strict):
    """How much of the console to show."""

    lines: int | None = Field(None, ge=1, le=100_000, description="the last lines")
    bytes: int | None = Field(None, ge=1, le=MOST_CONSOLE, description="the last bytes; 65536 unless told")
    after: str | None = Field(None, max_length=64)


@router.post(
    "/instances",
    openapi_extra=needs("instance:boot"),
    status_code=202,
    summary="Boot an instance, or several",
    responses=describe.answers(202, Booting, examples.BOOTING, 400, *describe.NAMED, 413, 422, 429),
)
async def boot_instances(
    given: Given, asked: Asking, body: Annotated[BootBody, Body(examples=[examples.BOOT])]
) -> Response:
    """Each becomes a command of its own, with one correlation. The answer names all; one that was refused says why."""
    alone = body.count == 1
    numbers = range(1, body.count + 1)
    ids = [asked.command_id] if alone else [command_bus.nth_id(asked, number) for number in numbers]
    born = boot.births(body, asked, ids)
    if asked.keyed:
        earlier = await command_bus.earlier(given, asked, [asked.command_id, command_bus.nth_id(asked, 1)])
        if earlier and not alone:
            earlier = await command_bus.earlier(given, asked, ids)
        if all(ident in earlier for ident in ids):
            password = await boot.told_password(given, body, born)
            same = [Outcome(ident, earlier[ident].subject, earlier[ident]) for ident in ids]
            return _booting(asked, born, same, password)
    command_bus.admit(given, BootInstance, asked.project, len(ids))
    commands = await boot.commands(given, asked, body, born)
    password = await boot.keep_secrets(given, body, born)
    return _booting(asked, born, await command_bus.send(given, asked, commands), password)


def _booting(asked: Asked, born: list[boot.Birth], outcomes: list[Outcome], password: str | None) -> Response:
    told: list[dict[str, Any]] = []
    for birth, outcome in zip(born, outcomes, strict=True):
        judged = outcome.judgement
        one = {"instance_id": birth.instance_id, "name": birth.name, "command_id": birth.command_id}
        if judged is not None and judged.verdict == "refused":
            one["problem"] = problem_of(judged)  # type: ignore[assignment]
        elif judged is not None and judged.task_id:
            one["task_id"] = judged.task_id
        told.append(one)
    if all("problem" in one for one in told):
        return response(told[0]["problem"])
    answered: dict[str, Any] = {"correlation_id": asked.command_id, "instances": told}
    if password is not None:
        answered["admin_password"] = password
    location = f"/v1/tasks?correlation={asked.command_id}"
    if len(told) == 1:
        answered |= {"id": told[0]["instance_id"], **told[0]}
        location = f"/v1/tasks/{told[0]['task_id']}" if "task_id" in told[0] else f"/v1/commands/{asked.command_id}"
    return Response(orjson.dumps(answered), 202, {"Location": location}, JSON)


@router.get(
    "/instances",
    summary="List instances",
    responses=describe.listed(page_of(VIEW, InstanceDocument), VIEW, examples.INSTANCE, *describe.NAMED),
)
async def list_instances(given: Given, project: Project, asked: Annotated[InstanceList, Query()]) -> Response:
    """The newest first. With `at`, what was there then and as the filters want it; a page may then have fewer than its
    limit, or none, and a marker: so far it was looked."""
    where: list[Condition] = []
    same = {
        "name": asked.name,
        "host_id": await _id(given, "hosts", asked.host_id, project),
        "host_name": asked.host_name,
        "image_id": await _id(given, "images", asked.image_id, project),
        "key_name": asked.key_name,
        "project": asked.project_id,
        "owner": asked.user_id,
        "zone": asked.zone,
    }
    where += [Condition(column, "=", value) for column, value in same.items() if value is not None]
    flavors = [await resolve.ident(given, "flavors", each, project) for each in asked.flavor_ids or ()]
    any_of = {"status": asked.status, "vm_state": asked.vm_state, "flavor_id": flavors}
    where += [Condition(column, "in", values) for column, values in any_of.items() if values]
    if asked.ip:
        where.append(Condition("ips", "contains", asked.ip))
    where += _between("created", asked.create_date) + _between("updated", asked.update_date)
    if asked.at is not None:
        return await time_travel.listed(given, VIEW, asked, asked.at, where, deleted=asked.deleted)
    return await page(given, VIEW, asked, [Condition("deleted", "=", asked.deleted), *where])


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


@router.get(
    "/instances/{ref}", summary="Show an instance", responses=describe.read(InstanceDocument, examples.INSTANCE)
)
async def show_instance(
    request: Request, given: Given, project: Project, ref: str, asked: Annotated[time_travel.OneAt, Query()]
) -> Response:
    """By its id, also when it is deleted; by its name, while it is not."""
    return await time_travel.show(request, given, VIEW, ref, project, asked)


@router.get(
    "/instances/{ref}/diff",
    summary="Read what differs between an instance at two moments",
    responses=describe.answers(200, Difference, examples.DIFFERENCE, *describe.NAMED, 422, 504),
)
async def instance_diff(
    given: Given, project: Project, ref: str, asked: Annotated[time_travel.Between, Query()]
) -> Response:
    """Field by field; parts of fields under dotted names."""
    return await time_travel.difference(given, VIEW, ref, project, asked)


@router.get(
    "/instances/{ref}/why",
    summary="Read why an instance is as it is",
    responses=describe.answers(200, Causes, examples.CAUSES, *describe.NAMED, 422, 504),
)
async def instance_why(given: Given, project: Project, ref: str, asked: Annotated[causality.Why, Query()]) -> Response:
    """From the command whose task made it so, over scheduler, network and host, to the present."""
    return await causality.why(given, VIEW, ref, project, asked)


@router.patch(
    "/instances/{ref}",
    summary="Change an instance's name, description or metadata",
    responses=describe.done(200, InstanceDocument, examples.INSTANCE, 400, 404),
)
async def change_instance(
    given: Given,
    asked: Asking,
    ref: str,
    body: Annotated[InstanceChange, Body(examples=[{"description": "in front of the shop"}])],
) -> Response:
    """Honours If-Match."""
    return await _one(given, asked, ref, UpdateInstance(**body.model_dump()))


@router.delete("/instances/{ref}", status_code=202, summary="Delete an instance", responses=describe.started(404))
async def delete_instance(given: Given, asked: Asking, ref: str, how: Annotated[Deletion, Query()]) -> Response:
    """Soft, so that it can be restored until it is purged; or `hard`, for good."""
    if how.hard:
        return await _one(given, asked, ref, HardDeleteInstance(ignore=how.ignore))
    keep_for = given.settings.instances.purge_after
    return await _one(given, asked, ref, DeleteInstance(ignore=how.ignore, keep_for=keep_for))


async def _one(services: Services, asked: Asked, ref: str, command: Any) -> Response:
    async def wish() -> Wish:
        return Wish(Key("instance", await resolve.ident(services, VIEW, ref, asked.project)), command)

    return await answer(services, await command_bus.carry_out(services, asked, wish), VIEW)


def _act(action: InstanceAction, fields: type[BaseModel]) -> Callable[..., Awaitable[Response]]:
    async def act(
        given: Given,
        asked: Asking,
        ref: str,
        body: Annotated[Any, Body(examples=[{}])] = None,
    ) -> Response:
        values = body.model_dump() if body is not None else {}
        values = await resolve.referred(given, action.command, values, asked.project)
        if action.command is DeleteInstance:
            values["keep_for"] = given.settings.instances.purge_after
        return await _one(given, asked, ref, action.command(**values))

    # The annotation is what FastAPI reads the body by; it differs from verb to verb.
    act.__annotations__["body"] = Annotated[fields | None, Body(examples=[{}])]
    act.__doc__ = action.help
    return act


def _fields(action: InstanceAction) -> type[BaseModel]:
    """The body of a verb: the fields of its command that are the user's to set."""
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
async def console_log(given: Given, project: Project, ref: str, asked: Annotated[Console, Query()]) -> Response:
    """Its end, as the host has it now."""
    await caught_up(given, asked.after)
    instance = await _document(given, ref, project)
    if asked.lines is None:
        text = await given.agents.console(instance, asked.bytes or 65536)
    else:
        most = min(max(asked.lines * LINES_BYTES, 65536), MOST_CONSOLE)
        text = b"".join((await given.agents.console(instance, most)).splitlines(keepends=True)[-asked.lines :])
    return Response(text, media_type="text/plain; charset=utf-8")


@router.post(
    "/instances/{ref}/vnc",
    summary="Open the instance's display",
    responses=describe.answers(200, Display, examples.DISPLAY, *describe.NAMED, 502),
)
async def vnc(given: Given, project: Project, ref: str) -> Response:
    """Its address with a new password, which holds for some seconds."""
    instance = await _document(given, ref, project)
    return Response(await given.agents.vnc(instance), media_type=JSON, headers={"Cache-Control": "no-store"})


@router.get(
    "/instances/{ref}/interfaces",
    summary="List an instance's network interfaces",
    responses=describe.answers(200, Interfaces, {"interfaces": [examples.NIC]}, 404, 504),
)
async def interfaces(given: Given, project: Project, ref: str, asked: Annotated[One, Query()]) -> Response:
    """In the guest's order."""
    await caught_up(given, asked.after)
    nics = (await _document(given, ref, project))["nics"]
    if asked.fields:
        for name in asked.fields:
            if name not in examples.NIC:
                raise Invalid(field="fields", value=name, allowed=f"interfaces have {', '.join(examples.NIC)}")
        nics = [{name: nic[name] for name in asked.fields} for nic in nics]
    return Response(orjson.dumps({"interfaces": nics}), media_type=JSON)


@router.get(
    "/instances/{ref}/history",
    summary="Read everything that happened to an instance",
    responses=describe.answers(
        200, page_of("events", EventDocument), {"events": [examples.EVENT], "next": None}, *describe.NAMED, 422, 504
    ),
)
async def history(given: Given, project: Project, ref: str, asked: Annotated[time_travel.History, Query()]) -> Response:
    """The oldest first."""
    return await time_travel.history(given, VIEW, ref, project, asked)


async def _document(services: Services, ref: str, project: str) -> dict[str, Any]:
    found = await resolve.found(services, VIEW, ref, project)
    doc: dict[str, Any] = orjson.loads(found.doc)
    return doc
