"""Images: uploaded bytes, and the names under which instances are booted from them."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from pydantic import Field
from starlette.responses import Response

from api import standard
from api.documents.document import Document
from api.http.names import Name
from api.http.patterns import CHECKSUM
from api.http.permissions import needs
from api.http.request_context import RequestContextDep, ServicesDep
from api.openapi import describe, examples
from api.reads.queries import Strict
from api.resource import of_kind
from api.writes import command_bus
from api.writes.command_bus import CommandRequest
from api.writes.command_responses import CREATED, answer
from domain.core.messages import Key, derived_id
from domain.image import ARCH, KIND, CreateImage

router = APIRouter(tags=["images"])

VIEW = "images"
BYTES = {"schema": {"type": "string", "format": "binary"}, "example": "(the image's bytes)"}
BINARY = {"application/octet-stream": BYTES}


class ImageDocument(Document):
    """An image: the bytes from which root disks of instances are made."""

    id: str
    project_id: str
    name: str
    description: str
    checksum: str
    format: str
    size: int = Field(description="size of the file in bytes")
    virtual_size: int = Field(description="size of a disk made of the image, in bytes")
    arch: str
    created: str
    updated: str
    deleted: str | None
    version: int


class BlobDocument(Document):
    """An uploaded file, as it is kept in the image store."""

    checksum: str
    size: int
    format: str
    virtual_size: int


EXAMPLE: dict[str, Any] = {
    "id": examples.IMAGE_ID,
    "project_id": "admin",
    "name": "tiny",
    "description": "",
    "checksum": examples.CHECKSUM,
    "format": "qcow2",
    "size": 13 * examples.MIB,
    "virtual_size": 64 * examples.MIB,
    "arch": "x86_64",
    "created": examples.NOW,
    "updated": examples.NOW,
    "deleted": None,
    "version": 1,
}
BLOB: dict[str, Any] = {
    "checksum": examples.CHECKSUM,
    "size": 13 * examples.MIB,
    "format": "qcow2",
    "virtual_size": 64 * examples.MIB,
}
RESOURCE = of_kind(KIND, ImageDocument, EXAMPLE, remembered=True)


class ImageBody(Strict):
    """An image that is to be created from uploaded bytes."""

    name: Name
    checksum: str = Field(pattern=CHECKSUM, description="SHA-256 of the uploaded bytes")
    description: str = Field("", max_length=1024)
    arch: str = Field("x86_64", pattern=ARCH)


class ImageChange(Strict):
    """Fields of an image to change; the others keep their values."""

    name: Name | None = None
    description: str | None = Field(None, max_length=1024)
    arch: str | None = Field(None, pattern=ARCH)


@router.post(
    "/images/uploads",
    status_code=CREATED,
    summary="Upload an image's bytes",
    responses=describe.answers(CREATED, BlobDocument, BLOB, 413, 422),
    openapi_extra=needs("image:create") | {"requestBody": {"required": True, "content": BINARY}},
)
async def upload(request: Request, services: ServicesDep) -> Response:
    """The body is a disk image in raw or qcow2 format. It is kept under its SHA-256, so a repeated upload changes
    nothing."""
    blob = await services.image_store.receive(request.stream())
    return Response(BlobDocument(**blob.document()).model_dump_json(), CREATED, media_type="application/json")


@router.post(
    "/images",
    status_code=CREATED,
    summary="Create an image from uploaded bytes",
    responses=describe.done(CREATED, ImageDocument, EXAMPLE, 400, 404),
)
async def create_image(
    services: ServicesDep,
    context: RequestContextDep,
    body: Annotated[ImageBody, Body(examples=[{"name": "tiny", "checksum": examples.CHECKSUM}])],
) -> Response:
    """The format and the sizes are read from the uploaded bytes."""

    async def make_command() -> CommandRequest:
        blob = await services.image_store.describe(body.checksum)
        return CommandRequest(
            Key("image", derived_id(context.command_id, "image")),
            CreateImage(
                name=body.name,
                description=body.description,
                checksum=blob.checksum,
                format=blob.format,
                size=blob.size,
                virtual_size=blob.virtual_size,
                arch=body.arch,
            ),
        )

    return await answer(services, await command_bus.carry_out(services, context, make_command), VIEW, done=CREATED)


standard.add_all(router, RESOURCE, "update", "delete")
standard.add_update(router, RESOURCE, ImageChange)
standard.add_delete(
    router, RESOURCE, "Instances that were made of the image keep their disks, and its bytes are kept for them."
)
