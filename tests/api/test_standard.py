"""What every kind of thing has: a history, what differs between two moments, why it is so, and how it was."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI

from api import standard
from api.documents.instances import InstanceDocument
from api.openapi import examples
from api.resource import RESOURCES, of_kind
from domain.aggregates import AGGREGATES
from domain.flavor import CreateFlavor, DeleteFlavor, UpdateFlavor
from domain.instance.actions import ACTIONS
from domain.instance.evolve import evolve
from domain.instance.state import Instance
from domain.kind import Kind, ListFilter, Unique
from tests.api.api import Api

MAKE: dict[str, dict[str, Any]] = {
    "flavor": {"name": "tall", "core": 1, "memory": 1 << 30},
    "keypair": {"name": "me"},
    "zone": {"name": "east", "description": "the east wing"},
    "network": {"name": "lan", "cidr": "10.0.0.0/24"},
}
FOLLOWS = {"network": ("gostack.network.gateway-given.v1",)}
"""Types of the events that stand beside the one that creates a thing."""


@pytest.mark.parametrize("kind", MAKE)
async def test_a_kind_made_of_its_row(empty: Api, kind: str) -> None:
    view = AGGREGATES[kind].plural
    made = await empty.post(f"/{view}", MAKE[kind])
    place = f"/{view}/{made['name']}"
    assert [each["id"] for each in (await empty.get(f"/{view}", name=made["name"]))[view]] == [made["id"]]
    began = await empty.get(f"{place}/history")
    types = [each["type"] for each in began["events"]]
    assert types == [f"gostack.{kind}.created.v{types[0][-1]}", *FOLLOWS.get(kind, ())]
    at = "{topic}/{partition}/{offset}".format(**began["events"][-1]["place"])
    why = await empty.get(f"{place}/why")
    assert [step["type"] for step in why["steps"]][-1] == types[-1]
    gone = await empty.delete(place)
    assert gone["deleted"]
    by_id = f"/{view}/{made['id']}"
    changes = (await empty.get(f"{by_id}/diff", **{"from": at}))["changes"]
    assert {each["field"] for each in changes} == {"deleted", "updated", "version"}
    assert (await empty.get(by_id, at=at))["deleted"] is None
    assert (await empty.get(place, 404))["code"] == "not-found"
    assert [each["id"] for each in (await empty.get(f"/{view}", deleted="true"))[view]] == [made["id"]]


BOX = Kind(
    name="box",
    help="Things of this test.",
    plural="boxes",
    state=Instance,
    evolve=evolve,
    actions={"stop": ACTIONS["stop"], "boot": ACTIONS["boot"]},
    create=CreateFlavor,
    update=UpdateFlavor,
    delete=DeleteFlavor,
    filters=(ListFilter("zone", "in this zone"), ListFilter("power", "in one of these", several=True)),
)


@pytest.fixture
def described() -> Iterator[dict[str, Any]]:
    app, router = FastAPI(), APIRouter()
    standard.add_all(router, of_kind(BOX, InstanceDocument, {**examples.INSTANCE, "core": 1, "memory": 1 << 30}))
    app.include_router(router)
    yield app.openapi()
    RESOURCES.pop("boxes")


def test_the_routes_of_a_kind_follow_from_its_row(described: dict[str, Any]) -> None:
    assert {(path, method) for path, operations in described["paths"].items() for method in operations} == {
        ("/boxes", "get"),
        ("/boxes", "post"),
        ("/boxes/{ref}", "get"),
        ("/boxes/{ref}", "patch"),
        ("/boxes/{ref}", "delete"),
        ("/boxes/{ref}/history", "get"),
        ("/boxes/{ref}/diff", "get"),
        ("/boxes/{ref}/why", "get"),
        ("/boxes/{ref}/actions/stop", "post"),
    }
    narrowed = {each["name"]: each for each in described["paths"]["/boxes"]["get"]["parameters"]}
    assert {"name", "project_id", "zone", "power", "deleted", "limit"} <= narrowed.keys()
    assert narrowed["power"]["description"] == "in one of these, separated by commas"


def test_a_request_has_the_fields_of_its_command(described: dict[str, Any]) -> None:
    shapes = described["components"]["schemas"]
    assert set(shapes["BoxBody"]["properties"]) == set(CreateFlavor.model_fields)
    assert shapes["BoxBody"]["required"] == ["name", "core", "memory"]
    assert shapes["BoxBody"]["additionalProperties"] is False
    assert shapes["BoxBody"]["properties"]["name"]["maxLength"] == standard.LONGEST_NAME
    assert "required" not in shapes["BoxChange"]
    content = described["paths"]["/boxes"]["post"]["requestBody"]["content"]["application/json"]
    assert content["schema"]["examples"] == [{"name": "web", "core": 1, "memory": 1 << 30}]
    assert "202" in described["paths"]["/boxes/{ref}/actions/stop"]["post"]["responses"]


@pytest.mark.parametrize(
    ("unique", "first", "second"),
    [
        (Unique.EVERYWHERE, ("b", "p"), ("b", "q")),
        (Unique.PROJECT, ("b", "p"), ("b", "p")),
    ],
)
def test_where_names_are_unique_they_make_the_first_id(
    unique: Unique, first: tuple[str, str], second: tuple[str, str]
) -> None:
    kind = replace(BOX, unique=unique)
    assert standard.first_id(kind, *first) == standard.first_id(kind, *second) != ""
    assert (standard.first_id(kind, "b", "other") == standard.first_id(kind, *first)) == (unique is Unique.EVERYWHERE)
    assert standard.first_id(BOX, *first) == ""
