"""What a field that refers to several things holds, made of the ids and names in a request."""

from typing import Annotated, Any, cast

import pytest

from api.reads import resolve
from domain.core.errors import NotFound
from domain.core.fields import Refers
from domain.core.messages import Model
from domain.guest_spec import FlavorRef
from tests.api.api import Api


class Wish(Model):
    networks: Annotated[tuple[str, ...], Refers("network")] = ()
    flavors: Annotated[tuple[FlavorRef, ...], Refers("flavor")] = ()


async def referred(api: Api, **values: Any) -> dict[str, Any]:
    return await resolve.referred(api.services, cast(Any, Wish), values, "admin")


async def test_each_is_found_by_its_id_or_name_and_held_once_in_their_order(api: Api) -> None:
    lan, back = [
        (await api.post("/networks", {"name": name, "cidr": "10.9.0.0/24"}))["id"] for name in ("front", "back")
    ]
    small, large = [
        await api.post("/flavors", {"name": name, "core": core, "memory": 1 << 30})
        for name, core in (("little", 1), ("large", 4))
    ]
    found = await referred(
        api, networks=("back", lan, back, "front"), flavors=("large", small["id"], "little", large["id"])
    )
    assert found["networks"] == (back, lan)
    assert [(each.id, each.core) for each in found["flavors"]] == [(large["id"], 4), (small["id"], 1)]
    assert await referred(api, networks=(), flavors=()) == {"networks": (), "flavors": ()}


@pytest.mark.parametrize("field", ["networks", "flavors"])
async def test_one_that_there_is_not_is_refused(api: Api, field: str) -> None:
    await api.post("/networks", {"name": "front", "cidr": "10.9.0.0/24"})
    await api.post("/flavors", {"name": "front", "core": 1, "memory": 1 << 30})
    with pytest.raises(NotFound, match="nope"):
        await referred(api, **{field: ("front", "nope")})
