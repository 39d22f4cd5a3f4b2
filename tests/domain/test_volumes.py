"""Volumes: what they are told to be, where they are, and who may have one. What all tasks share is walked by table."""

import pytest

from domain.core.errors import InUse, NotFound, Refusal
from domain.core.messages import Key
from domain.core.resources import Resources
from domain.host.state import Host
from domain.volume.actions import CreateVolume, DeleteVolume, UpdateVolume
from domain.volume.decider import RULES, decide
from domain.volume.state import Volume
from tests.harness.samples import sample
from tests.harness.stage import host_key
from tests.harness.walk import Walk, Walked

SIZE = 10 << 30
VOLUME = Key("volume", "00000000-0000-0000-0000-000000000005")


def created(**wanted: str) -> Walk:
    kind = Walked(RULES, decide, sample(CreateVolume, name="data", size=SIZE, **wanted), VOLUME)
    return Walk(kind, kind.stage()).send(kind.create).settle()


def claims(walk: Walk) -> list[tuple[str, Resources, str]]:
    hosts: list[Host] = walk.stage.hosts
    return [(host.name, Resources.of(each), each.holder_kind) for host in hosts for each in host.claims.values()]


def test_a_volume_takes_its_size_of_a_host_and_counts_as_no_instance_there() -> None:
    walk = created()
    volume: Volume = walk.now
    assert (volume.name, volume.size, volume.current_status, volume.project) == ("data", SIZE, "available", "p")
    assert volume.host is not None
    assert claims(walk) == [(volume.host.name, Resources(disk=SIZE), "volume")]
    assert [host.instances for host in walk.stage.hosts] == [0, 0, 0]


def test_it_is_on_the_host_that_was_named() -> None:
    for name in ("h1", "h2", "h3"):
        assert created(host=host_key(name).id).now.host.name == name


def test_it_can_be_named_anew_and_is_deleted_once() -> None:
    walk = created()
    walk.send(UpdateVolume(description="of the shop"))
    assert (walk.now.name, walk.now.description) == ("data", "of the shop")
    version = len(walk.events)
    walk.send(UpdateVolume(description="of the shop", name="data"))
    assert len(walk.events) == version, "it is so already"
    walk.send(DeleteVolume()).settle()
    assert (walk.now.current_status, walk.now.host, claims(walk)) == ("deleted", None, [])
    for command in (DeleteVolume(), UpdateVolume(name="other")):
        with pytest.raises(NotFound):
            walk.send(command)


def test_one_that_an_instance_has_is_not_deleted() -> None:
    walk = created()
    walk.stage.states[VOLUME] = walk.now.but(instance_id="i")
    assert walk.now.current_status == "in_use"
    with pytest.raises(InUse) as caught:
        walk.send(DeleteVolume())
    assert str(caught.value) == f"Volume {VOLUME.id} is in use by instance i."
    assert isinstance(caught.value, Refusal)
