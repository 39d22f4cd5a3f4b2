"""Images: uploaded or fetched bytes, and the names under which instances are booted from them."""

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request
from pydantic import AfterValidator, Field
from starlette.responses import FileResponse, Response

from api import standard
from api.documents.document import Document
from api.http.names import Name
from api.http.patterns import CHECKSUM
from api.http.permissions import needs
from api.http.refusals import RemoteImage, Unavailable
from api.http.request_context import ProjectDep, RequestContextDep, ServicesDep
from api.openapi import describe, examples
from api.reads import resolve
from api.reads.queries import JSON, Strict, applied
from api.resource import of_kind
from api.services import Services
from api.writes import command_bus
from api.writes.command_bus import CommandRequest
from api.writes.command_responses import CREATED, answer
from domain.core.errors import ImageNotReady, Invalid, WrongStatus
from domain.core.messages import Key, derived_id
from domain.image import (
    KIND,
    BeginImageUpload,
    Convertible,
    CreateImage,
    DiskFormat,
    ImageCommand,
    ImageStatus,
    VerifyImage,
    Visibility,
)
from domain.image_properties import ARCH, MOST_PROPERTIES
from projections.views.view import Condition, Either

router = APIRouter(tags=["images"])

VIEW = "images"
BYTES = {"schema": {"type": "string", "format": "binary"}, "example": "(bytes)"}
BINARY = {"application/octet-stream": BYTES}
FILE: describe.Responses = {
    200: {"description": "The file", "content": BINARY},
    206: {"description": "The part of it that Range asks for", "content": BINARY},
    416: {"description": "The file has no such part"},
}
"""Answers with an image's file."""
TAKES_BYTES = frozenset({ImageStatus.QUEUED, ImageStatus.UPLOADING, ImageStatus.FAILED})
LONGEST_PROPERTY = 255
MOST_BYTES = 1 << 62
"""Bytes of a file, a disk or a memory, at most."""


class ImageDocument(Document):
    """An image: the bytes from which root disks of instances are made."""

    id: str
    project_id: str
    name: str
    description: str
    status: str
    failure: str = Field(description="why it has failed; empty for one that has not")
    checksum: str = Field(description="SHA-256 of the file; before it is active the one that is expected, if any")
    format: str = Field(description="format of the file; empty before it is active")
    size: int = Field(description="size of the file in bytes")
    virtual_size: int = Field(description="size of a disk made of the image, in bytes")
    arch: str
    visibility: str
    protected: bool
    min_disk: int = Field(description="bytes that a root disk of it needs at least")
    min_ram: int = Field(description="bytes of memory that a flavor needs at least")
    properties: dict[str, str]
    disk_format: str
    convert_from: str
    url: str
    created: str
    updated: str
    deleted: str | None
    version: int


class UploadDocument(Document):
    """How much of an image's file is there."""

    id: str
    status: str
    received: int = Field(description="bytes that are there; the next piece begins at this offset")


EXAMPLE: dict[str, Any] = {
    "id": examples.IMAGE_ID,
    "project_id": "admin",
    "name": "tiny",
    "description": "",
    "status": "active",
    "failure": "",
    "checksum": examples.CHECKSUM,
    "format": "qcow2",
    "size": 13 * examples.MIB,
    "virtual_size": 64 * examples.MIB,
    "arch": "x86_64",
    "visibility": "private",
    "protected": False,
    "min_disk": 0,
    "min_ram": 0,
    "properties": {"os_type": "linux"},
    "disk_format": "",
    "convert_from": "",
    "url": "",
    "created": examples.NOW,
    "updated": examples.NOW,
    "deleted": None,
    "version": 1,
}
UPLOAD: dict[str, Any] = {"id": examples.IMAGE_ID, "status": "uploading", "received": 8 * examples.MIB}


def must_be_active(doc: Mapping[str, Any]) -> None:
    """Check that instances can be made of an image, by its document. Raises ImageNotReady."""
    status = doc.get("status", ImageStatus.ACTIVE)
    if status != ImageStatus.ACTIVE:
        raise ImageNotReady(name=doc["name"], status=status)


async def ident_of(services: Services, ref: str, project: str) -> str:
    """Return the id of an image that a project may know of. Raises NotFound, NameNotUnique."""
    return (await resolve.found(services, VIEW, ref, project)).id


RESOURCE = of_kind(KIND, ImageDocument, EXAMPLE, remembered=True, usable=must_be_active, ident=ident_of)


def _checked(properties: dict[str, str] | None) -> dict[str, str] | None:
    if any(len(text) > LONGEST_PROPERTY for pair in (properties or {}).items() for text in pair):
        raise ValueError(f"a name or value has more than {LONGEST_PROPERTY} characters")
    return properties


Properties = Annotated[dict[str, str], Field(max_length=MOST_PROPERTIES), AfterValidator(_checked)]
"""Properties of an image, whose names and values the image itself checks."""


class ImageBody(Strict):
    """An image that is to be created."""

    name: Name
    description: str = Field("", max_length=1024)
    checksum: str | None = Field(
        None, pattern=CHECKSUM, description="SHA-256 that the uploaded bytes have to have; any, unless given"
    )
    disk_format: DiskFormat = Field(
        "", description="what the bytes have to be; iso: an ISO image, which is run as a raw disk; empty: qcow2 or raw"
    )
    convert_from: Convertible = Field("", description="format from which the bytes are converted to qcow2")
    url: str = Field("", max_length=2048, description="http(s) URL from which the bytes are fetched; empty: uploaded")
    arch: str = Field("x86_64", pattern=ARCH, description="processor architecture; amd64 and arm64 are synonyms")
    visibility: Visibility = Field("private", description="whether every project may use it")
    protected: bool = Field(False, description="whether it cannot be deleted")
    min_disk: int = Field(0, ge=0, le=MOST_BYTES, description="bytes that a root disk of it needs at least")
    min_ram: int = Field(0, ge=0, le=MOST_BYTES, description="bytes of memory that a flavor needs at least")
    properties: Properties = {}


class ImageChange(Strict):
    """Fields of an image to change; the others keep their values."""

    name: Name | None = None
    description: str | None = Field(None, max_length=1024)
    arch: str | None = Field(None, pattern=ARCH)
    visibility: Visibility | None = None
    protected: bool | None = None
    min_disk: int | None = Field(None, ge=0, le=MOST_BYTES)
    min_ram: int | None = Field(None, ge=0, le=MOST_BYTES)
    properties: Properties | None = Field(
        None, description="properties to set; one with an empty value is removed, others stay"
    )


class Piece(Strict):
    """Where a piece of an image's file belongs."""

    offset: int = Field(ge=0, le=MOST_BYTES, description="bytes of the file before this piece: as many as are there")
    size: int = Field(ge=1, le=MOST_BYTES, description="bytes of the whole file; with the last of them it is complete")


@router.post(
    "/images",
    status_code=CREATED,
    summary="Create an image",
    responses=describe.done(CREATED, ImageDocument, EXAMPLE, 400),
)
async def create_image(
    services: ServicesDep,
    context: RequestContextDep,
    body: Annotated[ImageBody, Body(examples=[{"name": "tiny", "checksum": examples.CHECKSUM}])],
) -> Response:
    """The image is queued: its bytes are uploaded then (PATCH /v1/images/{ref}/file), or fetched from its URL. They are
    verified when all are there, which its status tells."""

    async def make_command() -> CommandRequest:
        # Where images are stored elsewhere, none can be made here.
        services.images.store.directory()
        if body.url:
            try:
                services.images.fetcher.check(body.url)
            except ValueError as wrong:
                raise Invalid(field="url", value=body.url[:255], allowed=str(wrong)) from wrong
        if body.convert_from and body.disk_format:
            raise Invalid(field="disk_format", value=body.disk_format, allowed="with convert_from it is left out")
        return CommandRequest(
            Key("image", derived_id(context.command_id, "image")), CreateImage(**body.model_dump(exclude_none=True))
        )

    return await answer(services, await command_bus.carry_out(services, context, make_command), VIEW, done=CREATED)


@router.get(
    "/images/{ref}/upload",
    summary="Read how much of an image's file is there",
    responses=describe.answers(200, UploadDocument, UPLOAD, *describe.NAMED, 422),
    openapi_extra=needs("image:upload"),
)
async def show_upload(services: ServicesDep, project: ProjectDep, ref: str) -> Response:
    """An upload that was interrupted goes on at the number of bytes that were received."""
    doc = await resolve.alive(services, VIEW, ref, project, remembered=False)
    return _upload(doc["id"], doc["status"], await services.images.staging.received(doc["id"]))


@router.patch(
    "/images/{ref}/file",
    summary="Upload a piece of an image's file",
    responses=describe.answers(200, UploadDocument, UPLOAD, *describe.NAMED, *describe.WRITTEN),
    openapi_extra=needs("image:upload") | {"requestBody": {"required": True, "content": BINARY}},
)
async def upload_image(
    request: Request,
    services: ServicesDep,
    context: RequestContextDep,
    ref: str,
    piece: Annotated[Piece, Query()],
) -> Response:
    """The body is appended at the offset, where that is the number of bytes that are there; else the answer is 409,
    with that number. What came of a piece that was interrupted is kept. After the last piece the file is verified."""
    doc = await resolve.alive(services, VIEW, ref, context.project, remembered=False)
    ident, status = doc["id"], ImageStatus(doc["status"])
    if doc["url"]:
        raise RemoteImage(id=ident)
    if status not in TAKES_BYTES:
        raise WrongStatus(kind="image", id=ident, status=status, action="an upload", allowed=" or ".join(TAKES_BYTES))
    if piece.offset > piece.size:
        raise Invalid(field="offset", value=piece.offset, allowed=f"at most the size, {piece.size}")
    staging = services.images.staging
    if status is not ImageStatus.UPLOADING:
        if status is ImageStatus.FAILED:
            await staging.restart(ident)
        if (refused := await _done(services, context, ident, BeginImageUpload())) is not None:
            return refused
    received = await staging.append(ident, piece.offset, piece.size, request.stream())
    status = ImageStatus.UPLOADING
    if received == piece.size:
        if (refused := await _done(services, context, ident, VerifyImage(size=received))) is not None:
            return refused
        services.images.worker.look_soon()
        status = ImageStatus.VERIFYING
    return _upload(ident, status, received)


async def _done(
    services: ServicesDep, context: RequestContextDep, ident: str, command: ImageCommand
) -> Response | None:
    """Carry out a command that the request brings with it; return the answer to the request where that is refused."""
    # The request is none of its own: whoever repeats it with other bytes must not find the first one's verdict.
    own = replace(context, command_id=str(uuid.uuid4()), keyed=False, fingerprint="", if_match=None)
    (outcome,) = await command_bus.send(services, own, [(own.command_id, CommandRequest(Key("image", ident), command))])
    if outcome.verdict is None:
        raise Unavailable(part="The engine", consequence="What was uploaded is kept: ask how much, and send the rest.")
    if outcome.verdict.verdict == "refused":
        return await answer(services, outcome, VIEW)
    # The worker goes by the read model, and whoever asked reads that next.
    await applied(services, own.command_id, services.settings.api.read_timeout)
    return None


def _upload(ident: str, status: str, received: int) -> Response:
    document = UploadDocument(id=ident, status=status, received=received)
    return Response(document.model_dump_json(), 200, media_type=JSON)


@router.get(
    "/images/{ref}/file",
    summary="Download an image's file",
    response_class=FileResponse,
    responses=FILE | describe.problem_answers(*describe.NAMED, 422),
    openapi_extra=needs("image:download"),
)
async def download_image(services: ServicesDep, project: ProjectDep, ref: str) -> Response:
    """The file of an active image, whose SHA-256 is the image's checksum and the ETag. A Range is honoured."""
    doc = await resolve.alive(services, VIEW, ref, project, remembered=False)
    must_be_active(doc)
    path = await asyncio.to_thread(services.images.store.path, doc["checksum"])
    name = f"{doc['id']}.{doc['format']}"
    headers = {"ETag": f'"{doc["checksum"]}"', "X-Content-Type-Options": "nosniff"}
    return FileResponse(path, media_type="application/octet-stream", filename=name, headers=headers)


async def own_and_public(services: ServicesDep, parameters: Any, project: str) -> list[Condition | Either]:
    """Return the condition by which a list has the images that a project may use; one that is named is asked for."""
    if parameters.project_id:
        return []
    return [Either((Condition("project", "=", project), Condition("visibility", "=", "public")))]


standard.add_all(router, RESOURCE, "list", "update", "delete")
standard.add_list(router, RESOURCE, narrowed=own_and_public)
standard.add_update(router, RESOURCE, ImageChange)
standard.add_delete(
    router, RESOURCE, "Instances that were made of the image keep their disks, and its bytes are kept for them."
)
