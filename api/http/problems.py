"""Refusals as HTTP: the status of each category, and the one shape (RFC 9457).

Why by category: a client acts on the code, which is permanent; the status follows from what the refusal's class says.
Why handlers are coroutines: FastAPI hands any other to a thread, which costs more than a refusal does.
"""

import logging
import uuid
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match

from api.http import refusals as own
from api.http.validation_errors import explain
from domain.core import errors
from domain.core.errors import Category, Refusal, refusals
from infra.db.write_store import WriteStoreUnavailable
from infra.log.log import LogUnavailable
from infra.process import log_context
from infra.secrets.secrets import SecretsUnavailable
from infra.webhooks.deliveries import DeliveriesUnavailable
from projections.store.port import StoreUnavailable
from projections.views.view import UnknownMarker

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 1
UNKNOWN_CODE_STATUS = 409

STATUS: dict[Category, int] = {
    Category.NOT_FOUND: 404,
    Category.CONFLICT: 409,
    Category.PRECONDITION: 412,
    Category.INVALID: 422,
    Category.MALFORMED: 400,
    Category.UNAUTHENTICATED: 401,
    Category.FORBIDDEN: 403,
    Category.MISDIRECTED: 421,
    Category.NOT_ALLOWED: 405,
    Category.TOO_LARGE: 413,
    Category.TOO_MUCH: 429,
    Category.UNAVAILABLE: 503,
    Category.UPSTREAM: 502,
    Category.LATE: 504,
    Category.BROKEN: 500,
}
RETRIED = {429, 503}
HUNG_UP = 499
"""Status under which a request is counted whose client did not wait for an answer."""
METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")


@lru_cache(maxsize=256)
def status_of(code: str) -> int:
    """Return the HTTP status of a refusal's code; 409 for a code that only a newer release knows."""
    refusal = refusals().get(code)
    return UNKNOWN_CODE_STATUS if refusal is None else STATUS[refusal.category]


def problem(
    code: str,
    message: str,
    hint: str,
    values: Mapping[str, Any],
    instance: str,
    errors: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return the problem document of a refusal, as RFC 9457 defines it; `errors` are those of single fields."""
    document: dict[str, Any] = {
        "type": f"urn:gostack:problem:{code}",
        "title": code.replace("-", " ").capitalize(),
        "status": status_of(code),
        "detail": message,
        "code": code,
        "hint": hint,
        "values": {name: str(value) for name, value in values.items()},
        "instance": instance,
    }
    if errors:
        document["errors"] = list(errors)
    return document


def of_refusal(refusal: Refusal, instance: str) -> dict[str, Any]:
    """Return the problem document of a refusal."""
    return problem(refusal.code, str(refusal), refusal.hint, refusal.values, instance)


def response(document: Mapping[str, Any]) -> Response:
    """Return a problem document as an answer, with the headers that its status requires."""
    status = int(document["status"])
    seconds = document["values"].get("retry_after", RETRY_SECONDS)
    headers = {"Retry-After": str(seconds)} if status in RETRIED else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(orjson.dumps(document), status, headers, MEDIA_TYPE)


def _allowed(request: Request) -> list[str]:
    """Return every method that the path of a request has: several routes may share a path."""
    routes = request.app.router.routes
    return [
        method
        for method in METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]


def install(app: FastAPI, max_body: int) -> None:
    """Answer every error of this application with a problem document."""

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refusal)
        return response(of_refusal(error, request.url.path))

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        found = error.errors()
        if any(each["type"] == "json_invalid" for each in found):
            why = f"the body is no JSON ({found[0].get('ctx', {}).get('error', 'at its end')})"
            return response(of_refusal(own.Malformed(why=why), request.url.path))
        told = explain(found)
        detail = "; ".join(f"{each['field']}: {each['message']}" for each in told)
        values = {}
        if more := len(found) - len(told):
            detail += f"; and {more} errors more"
            values["more_errors"] = more
        return response(problem("invalid", detail, "", values, request.url.path, told))

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        path = request.url.path
        refusal: Refusal
        match error.status_code:
            case 404:
                refusal = own.NoRoute(path=path)
            case 405:
                refusal = own.MethodNotAllowed(path=path, method=request.method)
            case 413:
                refusal = own.TooLarge(most=max_body)
            case 400:
                refusal = own.Malformed(why=str(error.detail))
            case _:
                raise error
        answer = response(of_refusal(refusal, path))
        answer.headers.update(error.headers or {})
        if error.status_code == 405:
            answer.headers["Allow"] = ", ".join(_allowed(request))
        return answer

    async def hung_up(request: Request, error: Exception) -> Response:
        logger.info("the client hung up before its request was whole")
        return Response(status_code=HUNG_UP)

    async def unavailable(request: Request, error: Exception) -> Response:
        part = "The log" if isinstance(error, LogUnavailable) else "The database"
        logger.error("%s does not answer: %s", part, error)
        refusal = own.Unavailable(part=part, consequence="The request may or may not have been carried out.")
        return response(of_refusal(refusal, request.url.path))

    async def unknown_marker(request: Request, error: Exception) -> Response:
        refusal = errors.Invalid(field="marker", value=error, allowed="it must be the id of a row of this list")
        return response(of_refusal(refusal, request.url.path))

    async def broken(request: Request, error: Exception) -> Response:
        incident = str(uuid.uuid4())
        with log_context.bound(**request.scope.get("work", {})):
            logger.error("incident %s: %s %s", incident, request.method, request.url.path, exc_info=error)
        return response(of_refusal(own.Broken(incident=incident), request.url.path))

    app.add_exception_handler(Refusal, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(ClientDisconnect, hung_up)
    for down in (LogUnavailable, StoreUnavailable, SecretsUnavailable, DeliveriesUnavailable, WriteStoreUnavailable):
        app.add_exception_handler(down, unavailable)
    app.add_exception_handler(UnknownMarker, unknown_marker)
    app.add_exception_handler(Exception, broken)
