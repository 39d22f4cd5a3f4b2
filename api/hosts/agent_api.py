"""The API for hosts' agents: they fetch secrets by reference, and fetch and put images' bytes. An application of its
own, at an address of its own, behind the token that agents and API share.
"""

import asyncio
from hmac import compare_digest

import orjson
from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.responses import FileResponse, Response

from api.http import problems
from api.http.body_limit import BodyLimit
from api.http.refusals import NotAuthorized
from api.http.request_context import Given
from api.reads.queries import JSON
from api.services import Services
from domain.core.errors import NotFound
from projections.views.view import Query


async def authorized(request: Request) -> None:
    """Raises NotAuthorized unless the agents' token is shown."""
    scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
    expected: str = request.app.state.token
    if not expected or scheme.lower() != "bearer" or not compare_digest(shown.encode(), expected.encode()):
        raise NotAuthorized


PAGE = 1000
"""Images that are looked at in one go."""

router = APIRouter(prefix="/internal/v1", dependencies=[Depends(authorized)])


@router.get("/secrets/{ref}")
async def secret(given: Given, ref: str) -> Response:
    """The value behind a reference."""
    value = await given.secrets.get(ref)
    if value is None:
        raise NotFound(kind="secret", id=ref)
    return Response(orjson.dumps({"value": value}), media_type=JSON, headers={"Cache-Control": "no-store"})


@router.get("/images/{checksum}")
async def image(given: Given, checksum: str) -> Response:
    """The bytes; ranges are served."""
    path = await asyncio.to_thread(given.blobs.path, checksum)
    return FileResponse(path, media_type="application/octet-stream", headers={"ETag": f'"{checksum}"'})


@router.put("/images/uploads/{task_id}")
async def upload(request: Request, given: Given, task_id: str) -> Response:
    """Put an image's bytes into the store for a task."""
    blob = await given.blobs.receive_for(task_id, request.stream())
    return Response(orjson.dumps(blob.document()), media_type=JSON)


@router.delete("/images/uploads/{task_id}")
async def discard_upload(given: Given, task_id: str) -> Response:
    """Take what was put there for a task out again, unless an image names it, or did: instances may stand on it."""
    checksum = await given.blobs.noted(task_id)
    if checksum:
        await given.blobs.forget(task_id, also_bytes=not await _named(given, checksum))
    return Response(status_code=204)


async def _named(services: Services, checksum: str) -> bool:
    """Whether an image, deleted or not, is made of these bytes. All images are looked at: this is asked seldom."""
    marker = ""
    while True:
        page = await services.store.page("images", Query(limit=PAGE, marker=marker))
        if any(orjson.loads(doc)["checksum"] == checksum for doc in page.docs):
            return True
        if not page.more:
            return False
        marker = page.last_id


def create_internal_app(services: Services, token: str) -> FastAPI:
    """The application that serves agents; with an empty token it serves nobody."""
    app = FastAPI(title="GoStack, for hosts", openapi_url=None, docs_url=None, redoc_url=None)
    app.state.services = services
    app.state.token = token
    app.include_router(router)
    problems.install(app, services.settings.api.max_body)
    app.add_middleware(BodyLimit, most=services.settings.api.max_body)
    return app
