"""Images: upload the bytes, then give them a name."""

from typing import Annotated

from fastapi import APIRouter, Body, Query, Request
from pydantic import Field
from starlette.responses import Response

from api.documents.catalog import BlobDocument, ImageDocument
from api.documents.document import page_of
from api.http.request_context import Asking, Given, Project
from api.openapi import describe, examples
from api.reads import resolve
from api.reads.queries import Many, One, Strict, caught_up, document, page
from api.writes import command_bus
from api.writes.boot import NAME
from api.writes.command_bus import Wish
from api.writes.command_responses import CREATED, answer
from domain.core.messages import Key, derived_id
from domain.image import CreateImage, DeleteImage
from projections.views.view import Condition

router = APIRouter(tags=["images"])

VIEW = "images"
BYTES = {"schema": {"type": "string", "format": "binary"}, "example": "(the image's bytes)"}
BINARY = {"application/octet-stream": BYTES}


class ImageBody(Strict):
    """An image to be."""

    name: str = Field(min_length=1, max_length=255, pattern=NAME)
    checksum: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of bytes that were uploaded")
    description: str = Field("", max_length=1024)
    arch: str = Field("x86_64", pattern=r"^[a-z0-9_]{1,32}$")


class ImageList(Many):
    """What images to list."""

    name: str | None = Field(None, max_length=255)
    project_id: str | None = Field(None, max_length=255)
    deleted: bool = False


@router.post(
    "/images/uploads",
    status_code=CREATED,
    summary="Upload an image's bytes",
    responses=describe.answers(CREATED, BlobDocument, examples.BLOB, 413, 422),
    openapi_extra={"requestBody": {"required": True, "content": BINARY}},
)
async def upload(request: Request, given: Given) -> Response:
    """Raw, qcow2 or other. Kept under their SHA-256: the same bytes again change nothing."""
    blob = await given.blobs.receive(request.stream())
    return Response(BlobDocument(**blob.document()).model_dump_json(), CREATED, media_type="application/json")


@router.post(
    "/images",
    status_code=CREATED,
    summary="Create an image from uploaded bytes",
    responses=describe.done(CREATED, ImageDocument, examples.IMAGE, 400, 404),
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


@router.get(
    "/images", summary="List images", responses=describe.listed(page_of(VIEW, ImageDocument), VIEW, examples.IMAGE)
)
async def list_images(given: Given, asked: Annotated[ImageList, Query()]) -> Response:
    """The newest first."""
    where = [Condition("deleted", "=", asked.deleted)]
    same = {"name": asked.name, "project": asked.project_id}
    where += [Condition(column, "=", value) for column, value in same.items() if value]
    return await page(given, VIEW, asked, where)


@router.get("/images/{ref}", summary="Show an image", responses=describe.read(ImageDocument, examples.IMAGE))
async def show_image(
    request: Request, given: Given, project: Project, ref: str, asked: Annotated[One, Query()]
) -> Response:
    """By id or name."""
    await caught_up(given, asked.after)
    return document(request, await resolve.found(given, VIEW, ref, project), VIEW, asked.fields)


@router.delete(
    "/images/{ref}", summary="Delete an image", responses=describe.done(200, ImageDocument, examples.IMAGE, 404)
)
async def delete_image(given: Given, asked: Asking, ref: str) -> Response:
    """Instances made of it keep their disks; its bytes stay for them."""

    async def wish() -> Wish:
        return Wish(Key("image", await resolve.ident(given, VIEW, ref, asked.project)), DeleteImage())

    return await answer(given, await command_bus.carry_out(given, asked, wish), VIEW)
