"""What has to match a pattern is explained in words, everywhere in the API."""

from collections.abc import Iterator
from typing import Any

import pytest

from api.http import patterns as forms
from api.http.patterns import IN_WORDS
from domain.core.names import PATTERN
from tests.api.api import DESCRIBED, GIB, Api


def patterns(node: Any) -> Iterator[str]:
    """Every pattern in a description."""
    if isinstance(node, dict):
        if isinstance(node.get("pattern"), str):
            yield node["pattern"]
        for each in node.values():
            yield from patterns(each)
    elif isinstance(node, list):
        for each in node:
            yield from patterns(each)


def test_every_pattern_has_words() -> None:
    parsed = {each["pattern"] for each in vars(forms).values() if isinstance(each, dict) and "pattern" in each}
    found = set(patterns(DESCRIBED))
    assert PATTERN in found
    assert {each for each in found if PATTERN not in each} <= set(IN_WORDS) | parsed


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/images", {"name": "a", "checksum": "x"}, "checksum"),
        ("/images", {"name": "a", "checksum": "0" * 64, "arch": "X 86"}, "arch"),
        ("/instances", {"flavor": "small", "image": "tiny", "instance_uuid": "x"}, "instance_uuid"),
        ("/instances/web/actions/hostname", {"hostname": "no_underscore"}, "hostname"),
        ("/flavors", {"name": "a\n", "core": 1, "memory": GIB}, "name"),
    ],
)
async def test_no_message_repeats_a_pattern(api: Api, path: str, body: dict[str, Any], field: str) -> None:
    refused = await api.post(path, body, 422)
    (wrong,) = refused["errors"]
    assert wrong["field"] == field
    assert not any(sign in str(refused) for sign in ("[0-9", "\\\\x", "^", "{1,32}", "pattern"))
