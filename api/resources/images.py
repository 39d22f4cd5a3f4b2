"""Images: upload the bytes, then give them a name."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from pydantic import Field
from starlette.responses import Response

from api import standard
from api.documents.document import Document
from api.http.permissions import needs
from api.http.request_context import Asking, Given
from api.openapi import describe, examples
from api.reads.queries import Strict
from api.resource import of_kind
from api.writes import command_bus
from api.writes.boot import NAME
from api.writes.command_bus import Wish
from api.writes.command_responses import CREATED, answer
from domain.core.messages import Key, derived_id
from domain.image import KIND, CreateImage

router = APIRouter(tags=["images"])

VIEW = "images"
BYTES = {"schema": {"type": "string", "format": "binary"}, "example": "(the image's bytes)"}
BINARY = {"application/octet-stream": BYTES}


class ImageDocument(Document):
    """An image."""

    id: str
    project_id: str
    name: str
    description: str
    checksum: str
    format: str
    size: int = Field(description="bytes")
    virtual_size: int = Field(description="bytes")
    arch: str
    created: str
    updated: str
    deleted: str | None
    version: int


class BlobDocument(Document):
    """What an upload has become."""

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
    """An image to be."""

    name: str = Field(min_length=1, max_length=255, pattern=NAME)
    checksum: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of bytes that were uploaded")
    description: str = Field("", max_length=1024)
    arch: str = Field("x86_64", pattern=r"^[a-z0-9_]{1,32}$")


@router.post(
    "/images/uploads",
    status_code=CREATED,
    summary="Upload an image's bytes",
    responses=describe.answers(CREATED, BlobDocument, BLOB, 413, 422),
    openapi_extra=needs("image:create") | {"requestBody": {"required": True, "content": BINARY}},
)
async def upload(request: Request, given: Given) -> Response:
    """Raw, qcow2 or other. Kept under their SHA-256: the same bytes again change nothing."""
    blob = await given.blobs.receive(request.stream())
    return Response(BlobDocument(**blob.document()).model_dump_json(), CREATED, media_type="application/json")


@router.post(
    "/images",
    status_code=CREATED,
    summary="Create an image from uploaded bytes",
    responses=describe.done(CREATED, ImageDocument, EXAMPLE, 400, 404),
)
async def create_image(
    given: Given,
    asked: Asking,
    body: Annotated[ImageBody, Body(examples=[{"name": "tiny", "checksum": examples.CHECKSUM}])],
) -> Response:
    """Format and sizes are read from the bytes, not believed."""

    async def wish() -> Wish:
        blob = await given.blobs.describe(body.checksum)
        return Wish(
            Key("image", derived_id(asked.command_id, "image")),
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

    return await answer(given, await command_bus.carry_out(given, asked, wish), VIEW, done=CREATED)


standard.add_all(router, RESOURCE, "delete")
standard.add_delete(router, RESOURCE, "Instances made of it keep their disks; its bytes stay for them.")
