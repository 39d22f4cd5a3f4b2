"""Additions to the OpenAPI description that routes cannot make: example requests, and the list of problem codes."""

from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.http.permissions import MEMBER, permission_of
from api.http.problems import MEDIA_TYPE
from api.openapi import describe, examples
from api.resource import RESOURCES
from domain.core.errors import refusals

REFS = {
    "events": examples.EVENT_ID,
    "commands": examples.COMMAND_ID,
    "parked": f"instance/{examples.INSTANCE_ID}",
    "projections": examples.COMMAND_ID,
    "instances": examples.INSTANCE_ID,
}
"""Values of {ref} and {ident} in example requests, by the first word of the path, for paths without a resource."""
ADDRESS = "http://127.0.0.1:7480"


def complete(app: FastAPI) -> None:
    """Make the application's OpenAPI description complete: example requests, permissions, and every problem code."""

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
            for path, operations in schema["paths"].items():
                for method, operation in operations.items():
                    if permission := permission_of(method.upper(), path, operation.get(MEMBER, "")):
                        operation[MEMBER] = permission
                    guarded = {str(status): answer for status, answer in describe.guarded(method).items()}
                    operation["responses"] = guarded | operation["responses"]
                    operation["responses"] |= _problems_of(operation)
                    operation["x-codeSamples"] = [{"lang": "Shell", "source": _curl(method, path, operation)}]
            schema["components"]["responses"] = _shared_problems(schema["paths"])
            schema["components"]["schemas"]["Problem"]["properties"]["code"]["examples"] = list(refusals())
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]


def _problems_of(operation: dict[str, Any]) -> dict[str, Any]:
    """Return the descriptions of the problems that follow from what an operation takes, by status."""
    statuses = []
    if "application/json" in operation.get("requestBody", {}).get("content", {}):
        statuses += [400, 413]
    if any(each["name"] == "after" for each in operation.get("parameters", ())):
        statuses.append(504)
    return {str(status): told for status, told in describe.problem_answers(*statuses).items()}


def _shared_problems(paths: dict[str, Any]) -> dict[str, Any]:
    """Move problem answers to shared components, one a status: they are the same for every operation."""
    shared = {}
    for operation in (each for operations in paths.values() for each in operations.values()):
        for status, answer in operation["responses"].items():
            if MEDIA_TYPE in answer.get("content", {}):
                answer["content"].pop("application/json", None)
                shared[f"Problem{status}"] = answer
                operation["responses"][status] = {"$ref": f"#/components/responses/Problem{status}"}
    return shared


def _curl(method: str, path: str, operation: dict[str, Any]) -> str:
    words = path.strip("/").split("/")
    ref = _ref(words[1]) if len(words) > 1 else ""
    path = path.replace("{kind}/{ident}", ref)
    url = ADDRESS + path.replace("{ref}", ref).replace("{ident}", ref).replace("{host}", "h1")
    needed = [
        f"{each['name']}=hw:support_live_resize"
        for each in operation.get("parameters", ())
        if each["in"] == "query" and each["required"]
    ]
    if needed:
        url += "?" + "&".join(needed)
    parts = ["curl", *([] if method == "get" else ["-X", method.upper()]), f"'{url}'"]
    content = operation.get("requestBody", {}).get("content", {})
    if "application/json" in content:
        body = orjson.dumps(_example(content["application/json"])).decode()
        parts += ["-H", "'Content-Type: application/json'", "-d", f"'{body}'"]
    elif content:
        parts += ["-T", "tiny.qcow2"]
    return " ".join(parts)


def _ref(view: str) -> str:
    if view in REFS or view not in RESOURCES:
        return REFS.get(view, "")
    return RESOURCES[view].ref


def _example(content: dict[str, Any]) -> Any:
    found = content.get("example") or content.get("examples") or content["schema"].get("examples")
    return found[0] if isinstance(found, list) else found
