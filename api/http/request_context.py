"""Who asks, and what makes two requests the same: the headers that every request may carry.

Who asks is taken at their word here; proving it is the door's work, before this.
"""

import hashlib
import re
import uuid
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from fastapi import Depends, Header, Request

from api.http.validation_errors import SECRET
from api.services import Services
from domain.core.errors import Invalid
from domain.core.messages import named_id
from infra.process import log_context, traces

LONGEST_HEADER = 255
ADMIN = "admin"


@dataclass(frozen=True)
class Asked:
    """A request's origin and identity."""

    actor: str
    project: str
    reason: str
    traceparent: str
    command_id: str
    """The id of the command that it becomes; of several commands, what their ids derive from."""
    keyed: bool
    """It carries an Idempotency-Key: the same one again is the same command."""
    fingerprint: str
    """Of an idempotent request's content; empty for others."""
    if_match: int | None


async def services(request: Request) -> Services:
    """What this application was made with."""
    found: Services = request.app.state.services
    return found


Given = Annotated[Services, Depends(services)]


async def asked(
    request: Request,
    given: Given,
    x_gostack_actor: Annotated[str, Header(max_length=LONGEST_HEADER, description="who asks")] = ADMIN,
    x_gostack_project: Annotated[str, Header(max_length=LONGEST_HEADER, description="for which project")] = ADMIN,
    x_gostack_reason: Annotated[str, Header(max_length=LONGEST_HEADER, description="why; kept with the command")] = "",
    idempotency_key: Annotated[
        str | None,
        Header(min_length=1, max_length=LONGEST_HEADER, description="the same key and body is the same command"),
    ] = None,
    if_match: Annotated[
        str | None, Header(max_length=64, description="the ETag that the resource must still have")
    ] = None,
    traceparent: Annotated[
        str,
        Header(
            max_length=LONGEST_HEADER,
            description="W3C trace context; the answer's traceresponse says which trace a request is part of",
        ),
    ] = "",
) -> Asked:
    """The request's origin and identity. Raises Invalid."""
    project = x_gostack_project or ADMIN
    command_id = named_id("command", project, idempotency_key) if idempotency_key else str(uuid.uuid4())
    log_context.bind(command=command_id)
    return Asked(
        actor=x_gostack_actor or ADMIN,
        project=project,
        reason=x_gostack_reason,
        # Of a request that is traced, what it brought is the parent of its span already.
        traceparent=traces.here() or traces.valid(traceparent),
        command_id=command_id,
        keyed=idempotency_key is not None,
        fingerprint=await _fingerprint(request, given) if idempotency_key else "",
        if_match=_version(if_match),
    )


Asking = Annotated[Asked, Depends(asked)]


async def project(
    x_gostack_project: Annotated[str, Header(max_length=LONGEST_HEADER, description="for which project")] = ADMIN,
) -> str:
    """The project that a read is for."""
    return x_gostack_project or ADMIN


Project = Annotated[str, Depends(project)]


def _version(etag: str | None) -> int | None:
    if etag is None or etag.strip() == "*":
        return None
    found = re.fullmatch(r'(?:W/)?"?(\d{1,18})"?', etag.strip())
    if found is None:
        raise Invalid(field="If-Match", value=etag, allowed='the ETag of an earlier answer is needed, such as "7"')
    return int(found[1])


async def _fingerprint(request: Request, given: Services) -> str:
    """Stands on the log for ever, so what may be secret enters it as a keyed mark only."""
    body = await request.body()
    content: Any = orjson.loads(body) if body else None
    if isinstance(content, dict):
        content = {
            name: given.secrets.digest(value) if name in SECRET and isinstance(value, str) else value
            for name, value in content.items()
        }
    canonical = orjson.dumps(
        [request.method, request.url.path, sorted(request.query_params.multi_items()), content],
        option=orjson.OPT_SORT_KEYS,
    )
    return hashlib.sha256(canonical).hexdigest()
