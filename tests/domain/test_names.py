"""Names that a thing may have, and those that would hide, break or disguise another."""

import re
import unicodedata

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from domain.core.errors import Invalid
from domain.core.messages import Command
from domain.core.names import LONGEST, PATTERN, wrong_with
from domain.flavor import CreateFlavor, FlavorCreated, UpdateFlavor, evolve
from domain.image import CreateImage
from domain.instance.actions.lifecycle.boot import BootInstance
from domain.instance.actions.lifecycle.update import UpdateInstance
from domain.keypair import CreateKeypair
from domain.network.messages import CreateNetwork, CreatePort, UpdateNetwork, UpdatePort
from domain.volume.actions import CreateVolume, UpdateVolume
from domain.webhook import CreateWebhook, Wanted
from tests.harness.samples import sample
from tests.harness.spec import START, Spec

UUID = "6F1C1B1E-0d5c-4f43-9a53-0b5a2f3d7c10"
GOOD = (
    "web",
    "a",
    "Zürich-1",
    "漢字",
    "two words",
    "a.b",
    "..a",
    "=1+1",
    "-f",
    "x" * LONGEST,
    UUID[:-1],
    UUID + "-1",
    "👍",
)
WRONG = {
    "": "is seen",
    "   ": "is seen",
    "\u2003\u3000": "is seen",
    "x" * (LONGEST + 1): "256 characters",
    "a\nb": "U+000A",
    "a\x1b[31m": "U+001B",
    "a\x7f": "U+007F",
    "a\x9b": "U+009B",
    "a\u202eb": "U+202E",
    "a\u200bb": "U+200B",
    "a\u2066b": "U+2066",
    "a\ufeffb": "U+FEFF",
    "a\u2028b": "U+2028",
    "a\u3164": "U+3164",
    "a\U000e0041": "U+E0041",
    "a\ud800": "U+D800",
    " a": "space",
    "a ": "space",
    "a/b": "slash",
    ".": "path",
    "..": "path",
    UUID: "ID",
    UUID.lower(): "ID",
}


@pytest.mark.parametrize("name", GOOD)
def test_a_name_that_may_be(name: str) -> None:
    assert wrong_with(name) == ""
    assert re.search(PATTERN, name)


@pytest.mark.parametrize("name", WRONG)
def test_a_name_that_may_not_be(name: str) -> None:
    assert WRONG[name] in wrong_with(name)


@drawn(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5))
def test_whatever_is_not_seen_is_refused(name: str) -> None:
    unseen = any(unicodedata.category(each) in ("Cc", "Cf", "Zl", "Zp") for each in name)
    assert not unseen or wrong_with(name)
    assert wrong_with(name) or re.search(PATTERN, name)


MADE: list[tuple[str, Command]] = [
    ("flavor", sample(CreateFlavor, name="a/b")),
    ("keypair", sample(CreateKeypair, name="a/b")),
    ("image", CreateImage(name="a/b", checksum="0" * 64, format="raw", size=1, virtual_size=1)),
    ("webhook", CreateWebhook(name="a/b", url="http://a/", wanted=Wanted(), begins=(0,), secret_ref="s")),
    ("network", sample(CreateNetwork, name="a/b", cidr="10.0.0.0/24")),
    ("volume", sample(CreateVolume, name="a/b", size=1 << 20)),
    ("instance", sample(BootInstance, name="a/b")),
]
RENAMED: list[tuple[str, Command, Command]] = [
    ("flavor", sample(CreateFlavor, name="a"), UpdateFlavor(name="a/b")),
    ("network", sample(CreateNetwork, name="a", cidr="10.0.0.0/24"), UpdateNetwork(name="a/b")),
    ("network", sample(CreateNetwork, name="a", cidr="10.0.0.0/24"), CreatePort(port_id="p", name="a/b")),
    ("volume", sample(CreateVolume, name="a", size=1 << 20), UpdateVolume(name="a/b")),
    ("instance", sample(BootInstance, name="a"), UpdateInstance(name="a/b")),
]


@pytest.mark.parametrize(("kind", "command"), MADE)
def test_no_kind_is_made_under_such_a_name(kind: str, command: Command) -> None:
    Spec(kind).when(command).refused(Invalid)


@pytest.mark.parametrize(("kind", "first", "command"), RENAMED)
def test_no_kind_is_given_such_a_name(kind: str, first: Command, command: Command) -> None:
    Spec(kind).when(first, command).refused(Invalid)


def test_a_port_may_have_no_name() -> None:
    spec = Spec("network").when(sample(CreateNetwork, name="a", cidr="10.0.0.0/24"), CreatePort(port_id="p"))
    assert spec.refusal is None
    spec.when(UpdatePort(port_id="p", name="a/b")).refused(Invalid)


def test_what_had_such_a_name_before_keeps_it_and_can_be_renamed() -> None:
    """An event that an earlier release wrote is read as it is."""
    event = FlavorCreated(name=UUID, core=1, memory=1, mode="prefer", multi_queue=0, policy="Default", at=START)
    old = evolve(None, event, "f")
    assert old.name == UUID
    spec = Spec("flavor")
    spec.now = old
    spec.when(UpdateFlavor(core=2))
    assert spec.refusal is None
