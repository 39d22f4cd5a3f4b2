"""The permission that each route requires: `KIND:VERB`.

Why declared already: everything is allowed until users are authenticated, but a route without a permission would be
open on the day that changes. Most permissions follow from the path; other routes name theirs, and a route without any
is an error at the start.
"""

from typing import Any

from api.resource import RESOURCES
from domain.aggregates import AGGREGATES

MEMBER = "x-permission"
"""The member of a route's OpenAPI description that holds its permission."""
PUBLIC = frozenset({"/healthz", "/readyz"})
"""Paths that require no permission: monitoring asks them."""
OF_ALL = {"GET": "list", "POST": "create"}
OF_ONE = {"GET": "show", "PATCH": "update", "DELETE": "delete"}


def needs(permission: str) -> dict[str, Any]:
    """Return a route's `openapi_extra`, for a permission that does not follow from its path."""
    return {MEMBER: permission}


def permission_of(method: str, path: str, named: str = "") -> str:
    """Return the permission of a route: the one that it names, or the one that follows from its path; empty if it
    requires none.

    Raises TypeError if the route names none and none follows from its path.
    """
    if named or path in PUBLIC:
        return named
    _, _, view, *below = path.split("/")
    match below:
        case [] if view in RESOURCES:
            verb = OF_ALL.get(method)
        case [one] if _is_parameter(one):
            verb = OF_ONE.get(method)
        case [one, word] | [one, "actions", word] if _is_parameter(one) and method in ("GET", "POST"):
            verb = word
        case _:
            verb = None
    if verb is None or _is_parameter(verb):
        raise TypeError(f"{method} {path} has no permission: name one by needs()")
    noun = RESOURCES[view].noun if view in RESOURCES else view.removesuffix("s")
    return AGGREGATES[noun].permission(verb) if noun in AGGREGATES else f"{noun}:{verb}"


def _is_parameter(word: str) -> bool:
    return word.startswith("{")
