"""The answers of the metadata service: a guest's name, keys and user data, in the forms that cloud images ask for.

The application knows nothing: whose request it is, and each document, it asks of the host's agent, by the network that
the request came in from and the address that it came from.
"""

import hmac
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Literal

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import PlainTextResponse

Ask = Callable[[int, str, str], Awaitable[bytes | None]]
"""Given the network's segment, the guest's address and the name of a document: its content; None where the guest, or
the document, is not known."""
NETWORK = "gostack.network"
"""Where the scope of a request has the segment of the network that it came in from."""
META_DATA = "meta_data.json"
NETWORK_DATA = "network_data.json"
USER_DATA = "user_data"
JSON = "application/json"
DOCUMENTS = {
    META_DATA: JSON,
    NETWORK_DATA: JSON,
    USER_DATA: "application/octet-stream",
    "vendor_data.json": JSON,
    "vendor_data2.json": JSON,
}
OPENSTACK_VERSIONS = ("latest",)
EC2_VERSIONS = ("1.0", "2007-01-19", "2009-04-04", "2016-09-02", "2018-09-24", "2021-03-23", "latest")
"""Versions that cloud images ask for; each has the same content."""
TOKEN = "X-aws-ec2-metadata-token"
TOKEN_SECONDS = "X-aws-ec2-metadata-token-ttl-seconds"
LONGEST_TOKEN = 21600
"""Seconds for which a token may be valid; Amazon's own limit."""


def _keys(meta: dict[str, Any]) -> dict[str, str]:
    """Return a guest's SSH keys by name."""
    return {str(name): str(key) for name, key in meta.get("public_keys", {}).items()}


def _key(meta: dict[str, Any], number: int) -> str | None:
    keys = list(_keys(meta).values())
    return keys[number] if number < len(keys) else None


EC2: dict[str, Callable[[dict[str, Any]], str | None]] = {
    "ami-launch-index": lambda meta: str(meta.get("launch_index", 0)),
    "instance-id": lambda meta: str(meta["uuid"]),
    "hostname": lambda meta: str(meta["hostname"]),
    "local-hostname": lambda meta: str(meta["hostname"]),
    "public-keys/": lambda meta: "\n".join(f"{number}={name}" for number, name in enumerate(_keys(meta))),
    "public-keys/0/": lambda meta: "openssh-key" if _keys(meta) else None,
    "public-keys/0/openssh-key": lambda meta: _key(meta, 0),
}
"""Paths of Amazon's form of the metadata, which is all that some images read."""


class Tokens:
    """Tokens by which a guest shows that it can send a request of its own, and not only have one sent (Amazon's
    IMDSv2): a server in the guest that fetches addresses for strangers sends no PUT, and no header of theirs."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def make(self, network: int, address: str, seconds: int) -> str:
        """Return a token for this guest, valid for so many seconds."""
        until = int(time.time()) + seconds
        return f"{until}.{self._proof(network, address, until)}"

    def valid(self, network: int, address: str, token: str) -> bool:
        """Return whether the token is this guest's, and still valid."""
        until, _, proof = token.partition(".")
        if not until.isdecimal() or not until.isascii() or len(until) > 12 or int(until) < time.time():
            return False
        return hmac.compare_digest(proof.encode(), self._proof(network, address, int(until)).encode())

    def _proof(self, network: int, address: str, until: int) -> str:
        return hmac.new(self._key, f"{network} {address} {until}".encode(), "sha256").hexdigest()


class Guest:
    """The guest that a request comes from, as far as it is known: a network's segment, and an address there."""

    def __init__(self, request: Request, ask: Ask) -> None:
        self._ask = ask
        self.network = int(request.scope[NETWORK])
        self.address = request.client.host if request.client else ""

    async def document(self, name: str) -> bytes | None:
        """Return a document about the guest; None where there is none."""
        return await self._ask(self.network, self.address, name)


def metadata(ask: Ask, token: Literal["optional", "required"] = "optional") -> FastAPI:
    """Make the HTTP application. `token`: whether a request must carry one."""
    app = FastAPI(title="GoStack metadata", docs_url=None, redoc_url=None, openapi_url=None)
    tokens = Tokens()

    def guest(request: Request) -> Guest:
        return Guest(request, ask)

    @app.middleware("http")
    async def with_token(request: Request, following: Callable[[Request], Awaitable[Response]]) -> Response:
        shown, its = request.headers.get(TOKEN), guest(request)
        if request.method != "PUT":
            if shown is not None and not tokens.valid(its.network, its.address, shown):
                return PlainTextResponse("the token is not valid, or not any more", HTTPStatus.UNAUTHORIZED)
            if shown is None and token == "required":
                told = f"a token is needed: PUT /latest/api/token with {TOKEN_SECONDS}"
                return PlainTextResponse(told, HTTPStatus.UNAUTHORIZED)
        return await following(request)

    @app.put("/latest/api/token")
    def new_token(request: Request) -> Response:
        # A proxy in the guest would ask for a stranger.
        if "x-forwarded-for" in request.headers:
            return PlainTextResponse("not through a proxy", HTTPStatus.FORBIDDEN)
        wanted, its = request.headers.get(TOKEN_SECONDS, ""), guest(request)
        if not (wanted.isascii() and wanted.isdecimal() and len(wanted) < 6 and 1 <= int(wanted) <= LONGEST_TOKEN):
            told = f"{TOKEN_SECONDS} must be a number from 1 to {LONGEST_TOKEN}"
            return PlainTextResponse(told, HTTPStatus.BAD_REQUEST)
        made = tokens.make(its.network, its.address, int(wanted))
        return PlainTextResponse(made, headers={TOKEN_SECONDS: wanted})

    app.include_router(_openstack(guest))
    app.include_router(_amazon(guest))
    return app


def _openstack(guest: Callable[[Request], Guest]) -> APIRouter:
    """Make the paths of OpenStack's form."""
    router = APIRouter(prefix="/openstack")

    @router.get("")
    @router.get("/")
    def versions() -> Response:
        return PlainTextResponse("\n".join(OPENSTACK_VERSIONS))

    @router.get("/latest")
    @router.get("/latest/")
    async def names(request: Request) -> Response:
        found = [name for name in DOCUMENTS if await guest(request).document(name) is not None]
        return PlainTextResponse("\n".join(found)) if found else _nothing()

    @router.get("/latest/{name}")
    async def document(request: Request, name: str) -> Response:
        found = await guest(request).document(name) if name in DOCUMENTS else None
        return _nothing() if found is None else Response(found, media_type=DOCUMENTS[name])

    return router


def _amazon(guest: Callable[[Request], Guest]) -> APIRouter:
    """Make the paths of Amazon's form."""
    router = APIRouter()

    @router.get("/")
    def versions() -> Response:
        return PlainTextResponse("\n".join(EC2_VERSIONS))

    @router.get("/{version}")
    @router.get("/{version}/")
    async def parts(request: Request, version: str) -> Response:
        if version not in EC2_VERSIONS:
            return _nothing()
        user_data = await guest(request).document(USER_DATA)
        return PlainTextResponse("\n".join(["meta-data/", *(["user-data"] if user_data is not None else [])]))

    @router.get("/{version}/user-data")
    async def user_data(request: Request, version: str) -> Response:
        found = await guest(request).document(USER_DATA) if version in EC2_VERSIONS else None
        return _nothing() if found is None else Response(found, media_type=DOCUMENTS[USER_DATA])

    @router.get("/{version}/meta-data")
    @router.get("/{version}/meta-data/{name:path}")
    async def value(request: Request, version: str, name: str = "") -> Response:
        found = await guest(request).document(META_DATA) if version in EC2_VERSIONS else None
        told = _ec2(json.loads(found), name) if found is not None else None
        return _nothing() if told is None else PlainTextResponse(told)

    return router


def _ec2(meta: dict[str, Any], name: str) -> str | None:
    """Return the value of a path, or the names right below it; None where there is neither."""
    known = {path: value for path, of in EC2.items() if (value := of(meta)) is not None}
    if not name:
        below = {f"{first}{slash}" for first, slash, _ in (path.partition("/") for path in known)}
        return "\n".join(sorted(below - ({"public-keys/"} if not _keys(meta) else set())))
    return known.get(name, known.get(f"{name}/"))


def _nothing() -> Response:
    return PlainTextResponse("", HTTPStatus.NOT_FOUND)
