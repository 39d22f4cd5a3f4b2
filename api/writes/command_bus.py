"""From a request to a verdict: the command goes on the log, and the engine or a scheduler answers there.

Nothing is decided here. The id of a command is derived from the Idempotency-Key of the request, so that a repeated
request is the same command and finds the verdict that it had.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import orjson

from api.http.refusals import KeyReused, Unavailable
from api.http.request_context import RequestContext
from api.reads import resolve
from api.services import Services
from api.writes.verdicts import CommandVerdict
from domain.aggregates import AGGREGATES, CELL_KINDS
from domain.core.cells import DEFAULT_CELL
from domain.core.errors import NotFound
from domain.core.messages import Command, Envelope, Key, Topic, derived_id, to_record
from domain.zone import CreateZone
from infra.log.log import LogUnavailable
from infra.process import failpoints, log_context, traces
from infra.process.error_text import text_of

SOURCE = "gostack/api"


@dataclass(frozen=True)
class CommandRequest:
    """A command that is to be sent, with the aggregate that it is for."""

    subject: Key
    data: Command


@dataclass(frozen=True)
class CommandOutcome:
    """A command's id, the aggregate that it was for, and its verdict, if it is known by now."""

    command_id: str
    subject: Key
    verdict: CommandVerdict | None


async def carry_out(
    services: Services, context: RequestContext, make_command: Callable[[], Awaitable[CommandRequest]]
) -> CommandOutcome:
    """Send one command, unless this request was answered before.

    `make_command` makes it, and is not called for a repeated request, which its checks against the present state would
    refuse.
    Raises KeyReused, Overloaded, Unavailable, and what `make_command` raises.
    """
    if context.keyed:
        known = await earlier(services, context, [context.command_id, nth_id(context, 1)])
        if found := known.get(context.command_id):
            return CommandOutcome(context.command_id, found.subject, found)
    made = await make_command()
    return (await send(services, context, [(context.command_id, made)]))[0]


def nth_id(context: RequestContext, number: int) -> str:
    """Return the id of one of several commands that a request becomes."""
    return derived_id(context.command_id, number)


async def earlier(services: Services, context: RequestContext, ids: Sequence[str]) -> dict[str, CommandVerdict]:
    """Return the verdicts that these commands have already. Raises KeyReused if one was sent by another request."""
    rows = await asyncio.gather(*(services.store.get("verdicts", ident) for ident in ids))
    return {
        ident: _own(context, CommandVerdict.of_document(orjson.loads(row.doc)))
        for ident, row in zip(ids, rows, strict=True)
        if row is not None
    }


def admit(services: Services, command: type[Command], project: str, count: int) -> None:
    """Check that this many commands may be sent now. Raises Overloaded."""
    services.admission.admit(command, project, count, services.verdicts.waiting)


async def send(
    services: Services, context: RequestContext, requests: Sequence[tuple[str, CommandRequest]]
) -> list[CommandOutcome]:
    """Append these commands, all of one kind, in order, and wait a moment for their verdicts.

    Raises KeyReused, Overloaded, and Unavailable if the log did not answer, although it may have the commands.
    """
    command = type(requests[0][1].data)
    admit(services, command, context.project, len(requests))
    services.admission.begins(command, context.project, len(requests))
    ids = [ident for ident, _ in requests]
    records = []
    kinds = {traces.short(request.data.type_name) for _, request in requests}
    sending = traces.begin(
        f"send {', '.join(sorted(kinds))}", traces.PRODUCER, about={"gostack.command": context.command_id}
    )
    if len(requests) == 1:
        subject = requests[0][1].subject
        log_context.bind(subject=str(subject), instance=subject.id if subject.kind == "instance" else "")
    for ident, request in requests:
        envelope = Envelope(
            id=ident,
            data=request.data,
            subject=request.subject,
            time=services.clock(),
            source=SOURCE,
            correlation=context.command_id,
            actor=context.actor,
            project=context.project,
            reason=context.reason,
            if_match=context.if_match,
            fingerprint=context.fingerprint,
            traceparent=sending.traceparent or context.traceparent,
        )
        if request.subject.kind in CELL_KINDS:
            records.append(to_record(envelope, Topic.SCHEDULING, key=await _cell(services, request)))
        else:
            records.append(to_record(envelope, Topic.COMMANDS))
    if any(request.subject.kind != "instance" for _, request in requests):
        services.known.clear()
    with services.verdicts.expect(ids) as expected:
        try:
            failpoints.point("api-named")
            await services.log.publish(records)
            sending.end()
            failpoints.point("api-sent")
        except LogUnavailable as error:
            sending.fail(text_of(error))
            sending.end()
            consequence = f"Command {context.command_id} may or may not be sent: GET /v1/commands/{context.command_id}."
            raise Unavailable(part="The log", consequence=consequence) from error
        found = await expected.within(services.settings.api.verdict_timeout)
        failpoints.point("api-answered")
    missing = [ident for ident in ids if ident not in found]
    if missing and context.keyed:
        # Decided when it was sent before: then no new verdict comes.
        found |= await earlier(services, context, missing)
    return [
        CommandOutcome(ident, request.subject, _own(context, found[ident]) if ident in found else None)
        for ident, request in requests
    ]


async def _cell(services: Services, request: CommandRequest) -> str:
    """Return the cell of a host or zone, whose scheduler decides about the command."""
    if isinstance(request.data, CreateZone):
        return request.data.cell
    try:
        found = await resolve.found(services, AGGREGATES[request.subject.kind].plural, request.subject.id, "")
    except NotFound:
        # Its decider refuses the command.
        return DEFAULT_CELL
    return resolve.cell(orjson.loads(found.doc))


def _own(context: RequestContext, verdict: CommandVerdict) -> CommandVerdict:
    if verdict.fingerprint != context.fingerprint:
        raise KeyReused(command=verdict.command_id)
    return verdict
