"""Keypairs: public keys by name, put into guests."""

from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import Field
from starlette.responses import Response

from api import standard
from api.documents.document import Document
from api.http.request_context import Asking, Given
from api.openapi import describe, examples
from api.reads.queries import Strict
from api.resource import of_kind
from api.writes import command_bus, ssh_keys
from api.writes.boot import NAME
from api.writes.command_bus import Wish
from api.writes.command_responses import CREATED, answer
from domain.core.messages import Key, named_id
from domain.keypair import KIND, CreateKeypair

router = APIRouter(tags=["keypairs"])

VIEW = "keypairs"


class KeypairDocument(Document):
    """A keypair."""

    id: str
    project_id: str
    name: str
    public_key: str
    fingerprint: str
    created: str
    updated: str
    deleted: str | None
    version: int


class PrivateKeypair(KeypairDocument):
    """A keypair that was made here."""

    private_key: str | None = Field(None, description="OpenSSH format; told this once and never kept")


EXAMPLE: dict[str, Any] = {
    "id": examples.KEYPAIR_ID,
    "project_id": "admin",
    "name": "laptop",
    "public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGHc1mFmOwH8jzVX6YuYhWmcIhCkLKfVhyCpxwpVrWvI laptop",
    "fingerprint": "SHA256:0m1nZ0n3n7l8c0X5pEoK4B7bH3G8T6Q2y9V1w5r4s3t",
    "created": examples.NOW,
    "updated": examples.NOW,
    "deleted": None,
    "version": 1,
}
PRIVATE_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\n…\n-----END OPENSSH PRIVATE KEY-----\n"
RESOURCE = of_kind(KIND, KeypairDocument, EXAMPLE)


class KeypairBody(Strict):
    """A keypair to be."""

    name: str = Field(min_length=1, max_length=255, pattern=NAME)
    public_key: str | None = Field(None, max_length=16384, description="OpenSSH format; absent: a pair is made")


@router.post(
    "/keypairs",
    status_code=CREATED,
    summary="Keep a public key under a name, or make a pair",
    responses=describe.done(CREATED, PrivateKeypair, {**EXAMPLE, "private_key": PRIVATE_KEY}, 400, 409),
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


standard.add_all(router, RESOURCE, "show", "delete")
standard.add_show(router, RESOURCE, "By id, or by its name in the project.")
standard.add_delete(router, RESOURCE, "Guests that have the key keep it.")
