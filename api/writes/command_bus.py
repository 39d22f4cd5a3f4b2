"""From a request to a verdict: the command goes on the log, and whoever decides answers there.

Nothing is decided here. The command's id is the request's: an Idempotency-Key makes it, so that the same request
again is the same command, and finds the verdict that it had.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import orjson

from api.http.refusals import KeyReused, Unavailable
from api.http.request_context import Asked
from api.reads import resolve
from api.services import Services
from api.writes.verdicts import Judgement
from domain.aggregates import AGGREGATES, CELL_KINDS
from domain.core.messages import Command, Envelope, Key, Topic, derived_id, to_record
from domain.zone import CreateZone
from infra.log.log import LogUnavailable
from infra.process import failpoints, log_context, traces

SOURCE = "gostack/api"


@dataclass(frozen=True)
class Wish:
    """A command to be, with whom it is for."""

    subject: Key
    data: Command


@dataclass(frozen=True)
class Outcome:
    """A command's id, whom it was for, and its verdict where that is known by now."""

    command_id: str
    subject: Key
    judgement: Judgement | None


async def carry_out(services: Services, asked: Asked, wish: Callable[[], Awaitable[Wish]]) -> Outcome:
    """Send one command, unless this request was answered before.

    `wish` makes it, and is called only then: what is checked against the present would refuse a repeated request.
    Raises KeyReused, Overloaded, Unavailable, and what `wish` raises.
    """
    if asked.keyed:
        known = await earlier(services, asked, [asked.command_id, nth_id(asked, 1)])
        if found := known.get(asked.command_id):
            return Outcome(asked.command_id, found.subject, found)
    made = await wish()
    return (await send(services, asked, [(asked.command_id, made)]))[0]


def nth_id(asked: Asked, number: int) -> str:
    """The id of one of several commands that a request becomes."""
    return derived_id(asked.command_id, number)


async def earlier(services: Services, asked: Asked, ids: Sequence[str]) -> dict[str, Judgement]:
    """Verdicts that these commands have already. Raises KeyReused where one was another request's."""
    rows = await asyncio.gather(*(services.store.get("verdicts", ident) for ident in ids))
    return {
        ident: _own(asked, Judgement.of_document(orjson.loads(row.doc)))
        for ident, row in zip(ids, rows, strict=True)
        if row is not None
    }


def admit(services: Services, command: type[Command], project: str, count: int) -> None:
    """Make sure that so many of these commands may be sent now. Raises Overloaded."""
    services.load.admit(command, project, count, services.verdicts.waiting)


async def send(services: Services, asked: Asked, wishes: Sequence[tuple[str, Wish]]) -> list[Outcome]:
    """Append these commands, all of one kind, in order, and wait a moment for their verdicts.

    Raises KeyReused, Overloaded, and Unavailable where the log did not answer: it may have them nevertheless.
    """
    command = type(wishes[0][1].data)
    admit(services, command, asked.project, len(wishes))
    services.load.begins(command, asked.project, len(wishes))
    ids = [ident for ident, _ in wishes]
    records = []
    kinds = {traces.short(wish.data.type_name) for _, wish in wishes}
    sending = traces.begin(
        f"send {', '.join(sorted(kinds))}", traces.PRODUCER, about={"gostack.command": asked.command_id}
    )
    if len(wishes) == 1:
        subject = wishes[0][1].subject
        log_context.bind(subject=str(subject), instance=subject.id if subject.kind == "instance" else "")
    for ident, wish in wishes:
        envelope = Envelope(
            id=ident,
            data=wish.data,
            subject=wish.subject,
            time=services.clock(),
            source=SOURCE,
            correlation=asked.command_id,
            actor=asked.actor,
            project=asked.project,
            reason=asked.reason,
            if_match=asked.if_match,
            fingerprint=asked.fingerprint,
            traceparent=sending.traceparent or asked.traceparent,
        )
        if wish.subject.kind in CELL_KINDS:
            records.append(to_record(envelope, Topic.SCHEDULING, key=await _cell(services, wish)))
        else:
            records.append(to_record(envelope, Topic.COMMANDS))
    if any(wish.subject.kind != "instance" for _, wish in wishes):
        services.known.clear()
    with services.verdicts.expect(ids) as expected:
        try:
            failpoints.point("api-named")
            await services.log.publish(records)
            sending.end()
            failpoints.point("api-sent")
        except LogUnavailable as error:
            sending.fail(str(error))
            sending.end()
            consequence = f"Command {asked.command_id} may be there, or not: GET /v1/commands/{asked.command_id}."
            raise Unavailable(part="The log", consequence=consequence) from error
        found = await expected.within(services.settings.api.verdict_timeout)
        failpoints.point("api-answered")
    missing = [ident for ident in ids if ident not in found]
    if missing and asked.keyed:
        # Decided when it was sent before: then no new verdict comes.
        found |= await earlier(services, asked, missing)
    return [
        Outcome(ident, wish.subject, _own(asked, found[ident]) if ident in found else None) for ident, wish in wishes
    ]


async def _cell(services: Services, wish: Wish) -> str:
    """Who decides: the scheduler of the cell that the host or zone belongs to, or is to."""
    if isinstance(wish.data, CreateZone):
        return wish.data.cell
    found = await services.store.get(AGGREGATES[wish.subject.kind].plural, wish.subject.id)
    return resolve.cell(orjson.loads(found.doc) if found else {})


def _own(asked: Asked, judgement: Judgement) -> Judgement:
    if judgement.fingerprint != asked.fingerprint:
        raise KeyReused(command=judgement.command_id)
    return judgement
