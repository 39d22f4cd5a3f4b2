"""The API for the hosts' agents: secrets by reference, downloads and uploads of images, and the hosts' uplinks. It is
an application of its own, at an address of its own, and answers only with the token that agents and API share.
"""

import asyncio
import base64
from hmac import compare_digest
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, FastAPI, Request
from pydantic import Field
from starlette.responses import FileResponse, Response

from api.hosts.port_settings import PortSettingsReader
from api.http import problems
from api.http.body_limit import BodyLimit
from api.http.patterns import CHECKSUM
from api.http.refusals import NotAuthorized, Unavailable
from api.http.request_context import ServicesDep
from api.http.storable import must_be_storable
from api.reads.queries import JSON, Strict, every_document
from api.services import Services
from api.writes.image_garbage import gone
from api.writes.readiness import readiness
from domain.core.errors import NotFound
from domain.host.state import HostHealth
from domain.jobs.pool import PoolPlace
from projections.views.view import Condition


async def authorized(request: Request) -> None:
    """Check that the request has the agents' token. Raises NotAuthorized."""
    scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
    expected: str = request.app.state.token
    if not expected or scheme.lower() != "bearer" or not compare_digest(shown.encode(), expected.encode()):
        raise NotAuthorized


MOST_CACHED = 1_000
"""Images that one request of a host asks for."""
MOST_PORTS = 10_000
"""Ports that one host can have."""

router = APIRouter(prefix="/internal/v1", dependencies=[Depends(authorized), Depends(must_be_storable)])


@router.get("/secrets/{ref}")
async def secret(services: ServicesDep, ref: str) -> Response:
    """Return the secret that has this reference: its text, or base64 where it is no text. Raises NotFound."""
    value = await services.secrets.get_bytes(ref)
    if value is None:
        raise NotFound(kind="secret", id=ref)
    try:
        told = {"value": value.decode()}
    except UnicodeDecodeError:
        told = {"value": base64.b64encode(value).decode(), "encoding": "base64"}
    return Response(orjson.dumps(told), media_type=JSON, headers={"Cache-Control": "no-store"})


@router.get("/uplinks")
async def uplinks(services: ServicesDep) -> Response:
    """Return the addresses at which hosts' guest networks are reached, of all hosts that have one, and the public keys
    of those that encrypt."""
    found = [host async for host in every_document(services.store, "hosts") if host.get("uplink")]
    # Of two hosts with one address, or one key, the one that is there has the word: the other is it by an earlier name.
    found.sort(key=lambda host: (host["health"] == HostHealth.UP, host["updated"]))
    keys = {host["uplink"]: host.get("tunnel_key", "") for host in found}
    places = {host.get("tunnel_key", ""): host["uplink"] for host in found}
    has = {address: key for address, key in sorted(keys.items()) if key and places[key] == address}
    told = {"uplinks": sorted(keys), "keys": has}
    return Response(orjson.dumps(told), media_type=JSON)


@router.get("/pools")
async def pools(services: ServicesDep) -> Response:
    """Return the pools that hosts are to look for (PoolPlace)."""
    found = every_document(services.store, "pools", Condition("deleted", "=", False))
    # What an earlier release wrote lacks what pools had not yet.
    told = [{name: each[name] for name in PoolPlace.model_fields if name in each} async for each in found]
    return Response(orjson.dumps({"pools": told}), media_type=JSON)


class PortsWanted(Strict):
    """The ports whose settings a host asks for."""

    version: str = Field("", max_length=64)
    """Version of what the host has; empty: it has nothing."""
    ports: list[tuple[str, str]] = Field(max_length=MOST_PORTS)
    """Id of the network, and address in it."""


@router.post("/ports")
async def ports(request: Request, body: PortsWanted) -> Response:
    """Return the settings of a host's ports (HostPorts), or 204 where they are as the host has them."""
    reader: PortSettingsReader = request.app.state.port_settings
    found = await reader.read(body.ports)
    if found.version == body.version:
        return Response(status_code=204)
    return Response(found.model_dump_json(), media_type=JSON)


class Cached(Strict):
    """The images that a host has in its cache."""

    checksums: list[Annotated[str, Field(pattern=CHECKSUM)]] = Field(max_length=MOST_CACHED)


@router.post("/images/gone")
async def gone_images(services: ServicesDep, body: Cached) -> Response:
    """Return those images of a host's cache that nothing will ask for again. Raises Unavailable where the read models
    are behind, and do not know of all that may."""
    if problems := (await readiness(services))["problems"]:
        raise Unavailable(part="What is known of images", consequence="; ".join(problems))
    found = await gone(services.store, body.checksums, services.clock(), services.settings.images.unused_keep)
    return Response(orjson.dumps({"gone": found}), media_type=JSON)


@router.get("/images/{checksum}")
async def image(services: ServicesDep, checksum: str) -> Response:
    """Return the bytes of an image; a Range header is honoured. Raises NotFound, Invalid."""
    path = await asyncio.to_thread(services.images.store.path, checksum)
    return FileResponse(path, media_type="application/octet-stream", headers={"ETag": f'"{checksum}"'})


@router.put("/images/uploads/{task_id}")
async def upload(request: Request, services: ServicesDep, task_id: str) -> Response:
    """Store the bytes of an image for a task. Raises TooLarge, Invalid, NotSupportedYet."""
    blob = await services.images.store.receive_for(task_id, request.stream())
    return Response(orjson.dumps(blob.document()), media_type=JSON)


@router.delete("/images/uploads/{task_id}")
async def discard_upload(services: ServicesDep, task_id: str, instance_id: str = "") -> Response:
    """Delete the bytes that were stored for a task, unless an image has or had them: instances may depend on them; or
    an instance besides the one that is named is kept as them.

    Raises Invalid, NotSupportedYet.
    """
    checksum = await services.images.store.noted(task_id)
    if checksum:
        needed = await _named(services, checksum) or await _needed(services, checksum, instance_id)
        await services.images.store.forget(task_id, also_bytes=not needed)
    return Response(status_code=204)


async def _named(services: Services, checksum: str) -> bool:
    """Return whether an image, deleted or not, is made of these bytes. Reads all images, page by page."""
    async for each in every_document(services.store, "images"):
        if each["checksum"] == checksum:
            return True
    return False


async def _needed(services: Services, checksum: str, but: str) -> bool:
    """Return whether any instance but this one has its disk in the image store as these bytes."""
    async for each in every_document(services.store, "instances", Condition("disk_checksum", "=", checksum)):
        if each["id"] != but:
            return True
    return False


def create_internal_app(services: Services, token: str) -> FastAPI:
    """Return the application that serves agents; with an empty token it refuses every request."""
    app = FastAPI(title="GoStack, for hosts", openapi_url=None, docs_url=None, redoc_url=None)
    app.state.services = services
    app.state.token = token
    app.state.port_settings = PortSettingsReader(services.store)
    app.include_router(router)
    problems.install(app, services.settings.api.max_body)
    app.add_middleware(BodyLimit, most=services.settings.api.max_body)
    return app
