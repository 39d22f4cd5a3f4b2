"""The answers of each operation in the OpenAPI description: their shapes, examples and problems."""

from collections.abc import Mapping
from typing import Any

from api.documents.answers import Accepted, Already, Done, Problem
from api.documents.document import Document
from api.http.problems import MEDIA_TYPE
from api.openapi import examples

Responses = dict[int | str, dict[str, Any]]

WORDS = {
    200: "Done",
    201: "Created",
    202: "Accepted: wait for the task; without a task, not decided yet: read the command",
    304: "Not modified",
    400: "The request cannot be read",
    401: "The token is missing or wrong",
    403: "The request is another web page's, or a webhook's, and would change something",
    404: "The resource does not exist",
    409: "The request conflicts with the present state; the code says why",
    412: "The resource was changed since the given ETag",
    413: "The body is too large",
    421: "The API is not known by the name in Host",
    422: "A field has a value that is not allowed",
    429: "The service is overloaded; repeat the request later",
    502: "The host's agent does not answer",
    503: "The log or the database does not answer",
    504: "The effects of the command or task in after= cannot be read yet",
}


NAMED = (404, 409)
"""Statuses of problems with a name: no resource has it, or several have it."""
WRITTEN = (409, 412, 413, 422, 429)
"""Statuses of the problems that any command may have."""


def answers(status: int, shape: type[Document], example: Any, *problems: int) -> Responses:
    """Describe a JSON answer, and the problems that may come instead."""
    content = {"application/json": {"example": example}}
    good: Responses = {status: {"model": shape, "description": WORDS[status], "content": content}}
    return good | problem_answers(*problems)


def text(example: str, *problems: int) -> Responses:
    """Describe an answer of plain text, and the problems that may come instead."""
    content = {"text/plain": {"schema": {"type": "string"}, "example": example}}
    good: Responses = {200: {"description": WORDS[200], "content": content}}
    return good | problem_answers(*problems)


def read(shape: type[Document], example: Mapping[str, Any]) -> Responses:
    """Describe a read of one document, which honours If-None-Match."""
    return answers(200, shape, example, *NAMED, 422, 504) | {304: {"description": WORDS[304]}}


def listed(shape: type[Document], name: str, example: Mapping[str, Any], *problems: int) -> Responses:
    """Describe a page of documents, which stand under this name."""
    return answers(200, shape, {name: [example], "next": None}, *problems, 422, 504)


def done(status: int, shape: type[Document], example: Mapping[str, Any], *problems: int) -> Responses:
    """Describe the answers to a command that is done as soon as it is accepted, or that changes nothing."""
    # FastAPI takes a union for a model, which its annotations do not say.
    either: Any = shape | Done | Already if status == 200 else shape | Done
    return fulfilled() | answers(status, either, example, *problems, *WRITTEN) | undecided()


def started(*problems: int) -> Responses:
    """Describe the answers to a command that becomes a task."""
    return fulfilled() | answers(202, Accepted, examples.ACCEPTED, *problems, *WRITTEN)


def fulfilled() -> Responses:
    """Describe the answer to a command that changed nothing."""
    content = {"application/json": {"example": examples.ALREADY}}
    told = "The request is fulfilled already; nothing was changed"
    return {200: {"model": Already, "description": told, "content": content}}


def undecided() -> Responses:
    """Describe the answer to a command whose verdict did not come in time."""
    example = {"command_id": examples.COMMAND_ID, "id": examples.INSTANCE_ID}
    content = {"application/json": {"example": example}}
    return {202: {"model": Accepted, "description": WORDS[202], "content": content}}


def guarded(method: str) -> Responses:
    """Describe the problems of a request that its caller may not know of, by the method in small letters."""
    return problem_answers(400, 421) if method == "get" else problem_answers(400, 403, 421)


def problem_answers(*statuses: int) -> Responses:
    """Describe problems of these statuses, and of 503, which any request may have."""
    schema = {"$ref": f"#/components/schemas/{Problem.__name__}"}
    content = {MEDIA_TYPE: {"schema": schema, "example": examples.PROBLEM}}
    return {status: {"description": WORDS[status], "content": content} for status in sorted({*statuses, 503})}
