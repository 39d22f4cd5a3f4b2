"""What each operation says of itself in OpenAPI: the shapes and an example of its answers."""

from collections.abc import Mapping
from typing import Any

from api.documents.answers import Accepted, Already, Problem
from api.documents.document import Document
from api.http.problems import MEDIA_TYPE
from api.openapi import examples

Responses = dict[int | str, dict[str, Any]]

WORDS = {
    200: "Done",
    201: "Created",
    202: "Accepted: wait for the task; or not decided yet: ask for the command",
    304: "Not modified",
    400: "The request cannot be read",
    401: "The token is missing or wrong",
    404: "There is no such thing",
    409: "It stands in the way of something; the code says of what",
    412: "It was changed meanwhile",
    413: "The body is too large",
    422: "A field is not as it must be",
    429: "Too much at once",
    502: "The host's agent does not answer",
    503: "The log or the database does not answer",
    504: "What after= names cannot be read yet",
}


NAMED = (404, 409)
"""Of what is asked for by a name: nobody may have it, or several."""
WRITTEN = (409, 412, 413, 422, 429)
"""Of every command."""


def answers(status: int, shape: type[Document], example: Any, *problems: int) -> Responses:
    """A JSON answer, and the problems that may come instead."""
    content = {"application/json": {"example": example}}
    good: Responses = {status: {"model": shape, "description": WORDS[status], "content": content}}
    return good | problem_answers(*problems)


def text(example: str, *problems: int) -> Responses:
    """An answer of plain text."""
    content = {"text/plain": {"schema": {"type": "string"}, "example": example}}
    good: Responses = {200: {"description": WORDS[200], "content": content}}
    return good | problem_answers(*problems)


def read(shape: type[Document], example: Mapping[str, Any]) -> Responses:
    """A document that can be asked for with If-None-Match."""
    return answers(200, shape, example, *NAMED, 422, 504) | {304: {"description": WORDS[304]}}


def listed(shape: type[Document], name: str, example: Mapping[str, Any], *problems: int) -> Responses:
    """A page."""
    return answers(200, shape, {name: [example], "next": None}, *problems, 422, 504)


def done(status: int, shape: type[Document], example: Mapping[str, Any], *problems: int) -> Responses:
    """A command that is done when it is accepted."""
    return answers(status, shape, example, *problems, *WRITTEN) | undecided()


def started(*problems: int) -> Responses:
    """A command that becomes a task."""
    content = {"application/json": {"example": examples.ALREADY}}
    already: Responses = {
        200: {
            "model": Already,
            "description": "The request is fulfilled already; nothing was changed",
            "content": content,
        }
    }
    return already | answers(202, Accepted, examples.ACCEPTED, *problems, *WRITTEN)


def undecided() -> Responses:
    """No verdict in time."""
    example = {"command_id": examples.COMMAND_ID, "id": examples.INSTANCE_ID}
    content = {"application/json": {"example": example}}
    return {202: {"model": Accepted, "description": WORDS[202], "content": content}}


def problem_answers(*statuses: int) -> Responses:
    """Problems; 503 can come of anything."""
    schema = {"$ref": f"#/components/schemas/{Problem.__name__}"}
    content = {MEDIA_TYPE: {"schema": schema, "example": examples.PROBLEM}}
    return {status: {"description": WORDS[status], "content": content} for status in sorted({*statuses, 503})}
