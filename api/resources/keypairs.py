"""Keypairs: public keys by name, put into guests."""

from typing import Annotated

from fastapi import APIRouter, Body, Query, Request
from pydantic import Field
from starlette.responses import Response

from api.documents.catalog import KeypairDocument, PrivateKeypair
from api.documents.document import page_of
from api.http.request_context import Asking, Given, Project
from api.openapi import describe, examples
from api.reads import resolve
from api.reads.queries import Many, One, Strict, caught_up, document, page
from api.writes import command_bus, ssh_keys
from api.writes.boot import NAME
from api.writes.command_bus import Wish
from api.writes.command_responses import CREATED, answer
from domain.core.messages import Key, named_id
from domain.keypair import CreateKeypair, DeleteKeypair
from projections.views.view import Condition, Found

router = APIRouter(tags=["keypairs"])

VIEW = "keypairs"


class KeypairBody(Strict):
    """A keypair to be."""

    name: str = Field(min_length=1, max_length=255, pattern=NAME)
    public_key: str | None = Field(None, max_length=16384, description="OpenSSH format; absent: a pair is made")


class KeypairList(Many):
    """What keypairs to list."""

    name: str | None = Field(None, max_length=255)
    project_id: str | None = Field(None, max_length=255)
    deleted: bool = False


@router.post(
    "/keypairs",
    status_code=CREATED,
    summary="Keep a public key under a name, or make a pair",
    responses=describe.done(
        CREATED, PrivateKeypair, {**examples.KEYPAIR, "private_key": examples.PRIVATE_KEY}, 400, 409
    ),
)
async def create_keypair(
    given: Given,
    asked: Asking,
    body: Annotated[KeypairBody, Body(examples=[{"name": "laptop"}])],
) -> Response:
    """The name is unique in the project. A private key that was made is told in this one answer, and kept nowhere."""
    keypair_id = named_id("keypair", asked.project, body.name)
    private = ""

    async def wish() -> Wish:
        nonlocal private
        if body.public_key is None:
            private, public = ssh_keys.new_pair(body.name)
        else:
            public = ssh_keys.checked(body.public_key)
        command = CreateKeypair(name=body.name, public_key=public, fingerprint=ssh_keys.fingerprint(public))
        return Wish(Key("keypair", keypair_id), command)

    outcome = await command_bus.carry_out(given, asked, wish)
    made = {"private_key": private} if private else None
    return await answer(given, outcome, VIEW, done=CREATED, more=made)


@router.get(
    "/keypairs",
    summary="List keypairs",
    responses=describe.listed(page_of(VIEW, KeypairDocument), VIEW, examples.KEYPAIR),
)
async def list_keypairs(given: Given, asked: Annotated[KeypairList, Query()]) -> Response:
    """The newest first."""
    where = [Condition("deleted", "=", asked.deleted)]
    same = {"name": asked.name, "project": asked.project_id}
    where += [Condition(column, "=", value) for column, value in same.items() if value]
    return await page(given, VIEW, asked, where)


@router.get("/keypairs/{ref}", summary="Show a keypair", responses=describe.read(KeypairDocument, examples.KEYPAIR))
async def show_keypair(
    request: Request, given: Given, project: Project, ref: str, asked: Annotated[One, Query()]
) -> Response:
    """By id, or by its name in the project."""
    await caught_up(given, asked.after)
    found: Found = await resolve.found(given, VIEW, ref, project)
    return document(request, found, VIEW, asked.fields)


@router.delete(
    "/keypairs/{ref}",
    summary="Delete a keypair",
    responses=describe.done(200, KeypairDocument, examples.KEYPAIR, 404),
)
async def delete_keypair(given: Given, asked: Asking, ref: str) -> Response:
    """Guests that have the key keep it."""
    keypair_id = ref.lower() if resolve.is_id(ref) else named_id("keypair", asked.project, ref)

    async def wish() -> Wish:
        return Wish(Key("keypair", keypair_id), DeleteKeypair())

    return await answer(given, await command_bus.carry_out(given, asked, wish), VIEW)
