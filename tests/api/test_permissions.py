"""Every route and every action says what whoever asks has to be allowed."""

import re
from typing import Any

import pytest

from api.http.permissions import MEMBER, PUBLIC, permission_of
from domain.aggregates import AGGREGATES
from tests.api.api import DESCRIBED

ROUTES: dict[str, dict[str, Any]] = {
    f"{method.upper()} {path}": operation
    for path, operations in DESCRIBED["paths"].items()
    for method, operation in operations.items()
}


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_has_a_permission(route: str) -> None:
    if route.split()[1] in PUBLIC:
        assert MEMBER not in ROUTES[route]
    else:
        assert re.fullmatch("[a-z]+(-[a-z]+)*:[a-z]+(-[a-z]+)*", ROUTES[route][MEMBER])


def test_every_action_has_the_permission_of_its_route() -> None:
    found = {operation.get(MEMBER) for operation in ROUTES.values()}
    actions = {kind.permission(name) for kind in AGGREGATES.values() for name in kind.actions}
    assert {"instance:boot", "instance:stop"} <= actions <= found


def test_it_follows_from_the_path_where_that_says_it() -> None:
    for method, path, permission in (
        ("GET", "/v1/flavors", "flavor:list"),
        ("PATCH", "/v1/flavors/{ref}", "flavor:update"),
        ("POST", "/v1/instances/{ref}/actions/hard-delete", "instance:hard-delete"),
        ("GET", "/v1/zones/{ref}/history", "zone:history"),
    ):
        assert permission_of(method, path) == permission == ROUTES[f"{method} {path}"][MEMBER]


@pytest.mark.parametrize("path", ["/v1/things", "/v1/flavors/{ref}/extra/more", "/v1/flavors/{ref}/{other}"])
def test_a_route_whose_path_does_not_say_it_must_name_its_own(path: str) -> None:
    assert permission_of("GET", path, "thing:look") == "thing:look"
    with pytest.raises(TypeError, match="has no permission"):
        permission_of("GET", path)
