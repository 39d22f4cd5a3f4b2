"""Keypairs: public keys that are stored by name and put into guests."""

from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import Field
from starlette.responses import Response

from api import standard
from api.documents.document import Document
from api.http.names import Name
from api.http.request_context import RequestContextDep, ServicesDep
from api.openapi import describe, examples
from api.reads.queries import Strict
from api.resource import of_kind
from api.writes import command_bus, ssh_keys
from api.writes.command_bus import CommandRequest
from api.writes.command_responses import CREATED, answer
from api.writes.told_once import tell, told
from domain.core.messages import Key
from domain.keypair import KIND, CreateKeypair

router = APIRouter(tags=["keypairs"])

VIEW = "keypairs"


class KeypairDocument(Document):
    """A keypair: a public SSH key with a name that is unique in its project."""

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
    """A keypair with the private key, if this request made it."""

    private_key: str | None = Field(
        None, description="private key in OpenSSH format, if this request made it; it is not kept"
    )


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
    """A keypair that is to be created."""

    name: Name
    public_key: str | None = Field(
        None, max_length=16384, description="public key in OpenSSH format; unless given, a new pair is made"
    )


@router.post(
    "/keypairs",
    status_code=CREATED,
    summary="Store a public key under a name, or make a pair",
    responses=describe.done(CREATED, PrivateKeypair, {**EXAMPLE, "private_key": PRIVATE_KEY}, 400, 409),
)
async def create_keypair(
    services: ServicesDep,
    context: RequestContextDep,
    body: Annotated[KeypairBody, Body(examples=[{"name": "laptop"}])],
) -> Response:
    """The name is unique in the project. If a pair is made, its private key is in this one answer, and for a day in the
    answer to the same request with the same Idempotency-Key."""
    private = ""

    async def make_command() -> CommandRequest:
        nonlocal private
        if body.public_key is None:
            private = await tell(services, context, ssh_keys.new_private_key())
            public = ssh_keys.public_key_of(private, body.name)
        else:
            public = ssh_keys.checked(body.public_key)
        command = CreateKeypair(name=body.name, public_key=public, fingerprint=ssh_keys.fingerprint(public))
        return CommandRequest(Key("keypair", await standard.new_id(services, KIND, context, body.name)), command)

    outcome = await command_bus.carry_out(services, context, make_command)
    if body.public_key is None and not private:
        private = await told(services, context)
    made = {"private_key": private} if private else None
    return await answer(services, outcome, VIEW, done=CREATED, more=made)


standard.add_all(router, RESOURCE, "show", "delete")
standard.add_show(router, RESOURCE, "The keypair is found by its id, or by its name in the project.")
standard.add_delete(router, RESOURCE, "Guests that have the public key keep it.")
