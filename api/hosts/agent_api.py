"""The API for the hosts' agents: secrets by reference, and downloads and uploads of images. It is an application of its
own, at an address of its own, and answers only with the token that agents and API share.
"""

import asyncio
from hmac import compare_digest

import orjson
from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.responses import FileResponse, Response

from api.http import problems
from api.http.body_limit import BodyLimit
from api.http.refusals import NotAuthorized
from api.http.request_context import ServicesDep
from api.reads.queries import JSON
from api.services import Services
from domain.core.errors import NotFound
from projections.views.view import Query


async def authorized(request: Request) -> None:
    """Check that the request has the agents' token. Raises NotAuthorized."""
    scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
    expected: str = request.app.state.token
    if not expected or scheme.lower() != "bearer" or not compare_digest(shown.encode(), expected.encode()):
        raise NotAuthorized


PAGE = 1000
"""Images that are looked at in one go."""

router = APIRouter(prefix="/internal/v1", dependencies=[Depends(authorized)])


@router.get("/secrets/{ref}")
async def secret(services: ServicesDep, ref: str) -> Response:
    """Return the secret that has this reference. Raises NotFound."""
    value = await services.secrets.get(ref)
    if value is None:
        raise NotFound(kind="secret", id=ref)
    return Response(orjson.dumps({"value": value}), media_type=JSON, headers={"Cache-Control": "no-store"})


@router.get("/images/{checksum}")
async def image(services: ServicesDep, checksum: str) -> Response:
    """Return the bytes of an image; a Range header is honoured. Raises NotFound, Invalid."""
    path = await asyncio.to_thread(services.image_store.path, checksum)
    return FileResponse(path, media_type="application/octet-stream", headers={"ETag": f'"{checksum}"'})


@router.put("/images/uploads/{task_id}")
async def upload(request: Request, services: ServicesDep, task_id: str) -> Response:
    """Store the bytes of an image for a task. Raises TooLarge, Invalid, NotSupportedYet."""
    blob = await services.image_store.receive_for(task_id, request.stream())
    return Response(orjson.dumps(blob.document()), media_type=JSON)


@router.delete("/images/uploads/{task_id}")
async def discard_upload(services: ServicesDep, task_id: str) -> Response:
    """Delete the bytes that were stored for a task, unless an image has or had them: instances may depend on them.

    Raises Invalid, NotSupportedYet.
    """
    checksum = await services.image_store.noted(task_id)
    if checksum:
        await services.image_store.forget(task_id, also_bytes=not await _named(services, checksum))
    return Response(status_code=204)


async def _named(services: Services, checksum: str) -> bool:
    """Return whether an image, deleted or not, is made of these bytes. Reads all images, page by page."""
    marker = ""
    while True:
        page = await services.store.page("images", Query(limit=PAGE, marker=marker))
        if any(orjson.loads(doc)["checksum"] == checksum for doc in page.docs):
            return True
        if not page.more:
            return False
        marker = page.last_id


def create_internal_app(services: Services, token: str) -> FastAPI:
    """Return the application that serves agents; with an empty token it refuses every request."""
    app = FastAPI(title="GoStack, for hosts", openapi_url=None, docs_url=None, redoc_url=None)
    app.state.services = services
    app.state.token = token
    app.include_router(router)
    problems.install(app, services.settings.api.max_body)
    app.add_middleware(BodyLimit, most=services.settings.api.max_body)
    return app
