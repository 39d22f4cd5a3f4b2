"""What every kind of thing has: a history, what differs between two moments, why it is so, and how it was."""

from typing import Any

import pytest

from domain.aggregates import AGGREGATES
from tests.api.api import Api

MAKE: dict[str, dict[str, Any]] = {
    "flavor": {"name": "tall", "core": 1, "memory": 1 << 30},
    "keypair": {"name": "me"},
    "zone": {"name": "east", "description": "the east wing"},
    "network": {"name": "lan", "cidr": "10.0.0.0/24"},
}


@pytest.mark.parametrize("kind", MAKE)
async def test_a_kind_made_of_its_row(empty: Api, kind: str) -> None:
    view = AGGREGATES[kind].plural
    made = await empty.post(f"/{view}", MAKE[kind])
    place = f"/{view}/{made['name']}"
    assert [each["id"] for each in (await empty.get(f"/{view}", name=made["name"]))[view]] == [made["id"]]
    began = await empty.get(f"{place}/history")
    assert [each["type"] for each in began["events"]] == [f"gostack.{kind}.created.v{began['events'][0]['type'][-1]}"]
    at = "{topic}/{partition}/{offset}".format(**began["events"][0]["place"])
    why = await empty.get(f"{place}/why")
    assert [step["type"] for step in why["steps"]][-1] == began["events"][0]["type"]
    gone = await empty.delete(place)
    assert gone["deleted"]
    by_id = f"/{view}/{made['id']}"
    changes = (await empty.get(f"{by_id}/diff", **{"from": at}))["changes"]
    assert {each["field"] for each in changes} == {"deleted", "updated", "version"}
    assert (await empty.get(by_id, at=at))["deleted"] is None
    assert (await empty.get(place, 404))["code"] == "not-found"
    assert [each["id"] for each in (await empty.get(f"/{view}", deleted="true"))[view]] == [made["id"]]
