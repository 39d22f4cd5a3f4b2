"""The origin and the identity of a request, as read from its headers.

The actor and the project are not verified here; authentication has to happen in front of the API.
"""

import hashlib
import re
import uuid
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from fastapi import Depends, Header, Request

from api.http.patterns import ETAG, LIKE_AN_ETAG
from api.http.storable import has_body
from api.http.validation_errors import SECRET
from api.services import Services
from domain.core.errors import Invalid
from domain.core.messages import named_id
from infra.process import log_context, traces

LONGEST_HEADER = 255
ADMIN = "admin"


@dataclass(frozen=True)
class RequestContext:
    """The origin and the identity of a request, as read from its headers."""

    actor: str
    project: str
    reason: str
    traceparent: str
    command_id: str
    """Id of the command that the request becomes; for several commands, the id from which theirs are derived."""
    keyed: bool
    """Whether the request has an Idempotency-Key: repeated with the same key, it is the same command."""
    fingerprint: str
    """Hash of the content of a request with an Idempotency-Key; empty for other requests."""
    if_match: int | None


async def services(request: Request) -> Services:
    """Return the services that this application was made with."""
    found: Services = request.app.state.services
    return found


ServicesDep = Annotated[Services, Depends(services)]


async def request_context(
    request: Request,
    services: ServicesDep,
    x_gostack_actor: Annotated[
        str, Header(max_length=LONGEST_HEADER, description="name of the user who makes the request")
    ] = ADMIN,
    x_gostack_project: Annotated[
        str, Header(max_length=LONGEST_HEADER, description="project for which the request is made")
    ] = ADMIN,
    x_gostack_reason: Annotated[
        str, Header(max_length=LONGEST_HEADER, description="reason for the request; recorded with the command")
    ] = "",
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=LONGEST_HEADER,
            description="a repeated request with the same key and body is the same command and is carried out once",
        ),
    ] = None,
    if_match: Annotated[
        str | None,
        Header(
            max_length=64,
            description="ETag that the resource must still have; otherwise the request is refused",
            json_schema_extra=LIKE_AN_ETAG,
        ),
    ] = None,
    traceparent: Annotated[
        str,
        Header(
            max_length=LONGEST_HEADER,
            description="W3C trace context; the answer's traceresponse says which trace a request is part of",
        ),
    ] = "",
) -> RequestContext:
    """Read the origin and the identity of a request from its headers. Raises Invalid."""
    project = x_gostack_project or ADMIN
    command_id = named_id("command", project, idempotency_key) if idempotency_key else str(uuid.uuid4())
    log_context.bind(command=command_id)
    return RequestContext(
        actor=x_gostack_actor or ADMIN,
        project=project,
        reason=x_gostack_reason,
        # The traceparent of a traced request is the parent of its span already.
        traceparent=traces.here() or traces.valid(traceparent),
        command_id=command_id,
        keyed=idempotency_key is not None,
        fingerprint=await _fingerprint(request, services) if idempotency_key else "",
        if_match=_version(if_match),
    )


RequestContextDep = Annotated[RequestContext, Depends(request_context)]


async def project(
    x_gostack_project: Annotated[
        str, Header(max_length=LONGEST_HEADER, description="project for which the request is made")
    ] = ADMIN,
) -> str:
    """Return the project that a read is for, `admin` unless a header names another."""
    return x_gostack_project or ADMIN


ProjectDep = Annotated[str, Depends(project)]


def _version(etag: str | None) -> int | None:
    if etag is None:
        return None
    found = re.fullmatch(ETAG, etag)
    if found is None:
        raise Invalid(field="If-Match", value=etag, allowed='the ETag of an earlier answer is needed, such as "7"')
    return int(found["version"]) if found["version"] else None


async def _fingerprint(request: Request, services: Services) -> str:
    """Hash the content of a request. The hash stays on the log for ever, so secrets enter it as keyed digests only."""
    content: Any = await request.json() if await has_body(request) else None
    if isinstance(content, dict):
        content = {
            name: services.secrets.digest(value) if name in SECRET and isinstance(value, str) else value
            for name, value in content.items()
        }
    canonical = orjson.dumps(
        [request.method, request.url.path, sorted(request.query_params.multi_items()), content],
        option=orjson.OPT_SORT_KEYS,
    )
    return hashlib.sha256(canonical).hexdigest()
