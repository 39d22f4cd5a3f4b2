"""Flavors, images and keypairs: small things that are made, changed, deleted and nothing else."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain import flavor, image, keypair
from domain.core.errors import AlreadyExists, NotFound, Refusal
from domain.core.messages import Command, Decision, Envelope, Event, Key
from domain.flavor import (
    AddFlavorExtra,
    CreateFlavor,
    DeleteFlavor,
    DeleteFlavorExtra,
    Flavor,
    UpdateFlavor,
)
from domain.image import CreateImage, DeleteImage, Image
from domain.instance.actions.power.stop import StopInstance
from domain.keypair import CreateKeypair, DeleteKeypair, Keypair

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Thing:
    """One thing's story."""

    kind: str
    decide: Callable[[Any, Envelope], Decision]
    evolve: Callable[[Any, Event, str], Any]
    now: Any = None
    last: list[Event] = field(default_factory=list)
    time: datetime = START

    def send(self, command: Command) -> "Thing":
        """Decide and apply; raises the Refusal."""
        self.time += timedelta(seconds=1)
        envelope = Envelope(
            id=str(uuid.UUID(int=1)),
            data=command,
            subject=Key(self.kind, "the-id"),
            time=self.time,
            source="test",
            correlation="c",
            project="p",
        )
        decision = self.decide(self.now, envelope)
        assert decision.outgoing == [], "a small thing asks nobody"
        self.last = decision.events
        for event in decision.events:
            self.now = self.evolve(self.now, event, "the-id")
        return self

    def refused(self, command: Command, kind: type[Refusal]) -> str:
        before = self.now
        with pytest.raises(kind) as caught:
            self.send(command)
        assert self.now is before
        return str(caught.value)


SMALL = CreateFlavor(name="small", core=1, memory=1 << 30, extra={"a": "1"})
TINY = CreateImage(name="tiny", checksum="0" * 64, format="qcow2", size=5, virtual_size=7, description="d")
ALICE = CreateKeypair(name="alice", public_key="ssh-ed25519 AAAA", fingerprint="SHA256:x")


def a_flavor() -> Thing:
    return Thing("flavor", flavor.decide, flavor.evolve)


def an_image() -> Thing:
    return Thing("image", image.decide, image.evolve)


def a_keypair() -> Thing:
    return Thing("keypair", keypair.decide, keypair.evolve)


EVERY = [(a_flavor, SMALL, DeleteFlavor()), (an_image, TINY, DeleteImage()), (a_keypair, ALICE, DeleteKeypair())]
every = pytest.mark.parametrize(("make", "create", "delete"), EVERY, ids=["flavor", "image", "keypair"])


@every
def test_a_thing_is_as_it_was_asked_for(make: Callable[[], Thing], create: Command, delete: Command) -> None:
    now = make().send(create).now
    assert now.id == "the-id"
    assert now.model_dump(include=set(type(create).model_fields)) == create.model_dump()
    assert (now.created, now.updated, now.deleted) == (START + timedelta(seconds=1),) * 2 + (None,)


@every
def test_a_deleted_thing_is_kept_and_says_since_when(
    make: Callable[[], Thing], create: Command, delete: Command
) -> None:
    now = make().send(create).send(delete).now
    assert now.deleted == now.updated == START + timedelta(seconds=2)
    assert now.created == START + timedelta(seconds=1)


@every
def test_nothing_can_be_done_with_what_is_not_there(
    make: Callable[[], Thing], create: Command, delete: Command
) -> None:
    make().refused(delete, NotFound)
    make().send(create).send(delete).refused(delete, NotFound)


@every
def test_what_is_there_is_not_made_again(make: Callable[[], Thing], create: Command, delete: Command) -> None:
    make().send(create).refused(create, AlreadyExists)


@every
def test_another_kinds_command_or_event_is_an_error_and_no_refusal(
    make: Callable[[], Thing], create: Command, delete: Command
) -> None:
    with pytest.raises(TypeError):
        make().send(create).send(StopInstance())
    thing = make().send(create)
    with pytest.raises(TypeError):
        thing.evolve(thing.now, Event(), "the-id")
    deleted = make().send(create).send(delete).last[0]
    with pytest.raises(TypeError):
        thing.evolve(None, deleted, "the-id")


@every
def test_a_state_survives_being_stored(make: Callable[[], Thing], create: Command, delete: Command) -> None:
    for now in (make().send(create).now, make().send(create).send(delete).now):
        assert type(now).model_validate_json(now.model_dump_json(exclude_defaults=True)) == now


@pytest.mark.parametrize(("make", "create", "delete"), [EVERY[0], EVERY[2]], ids=["flavor", "keypair"])
def test_a_name_is_free_again_when_its_thing_is_deleted(
    make: Callable[[], Thing], create: Command, delete: Command
) -> None:
    now = make().send(create).send(delete).send(create).now
    assert now.deleted is None
    assert now.created == START + timedelta(seconds=3)


def test_an_image_id_stays_taken_since_instances_name_it_for_ever() -> None:
    an_image().send(TINY).send(DeleteImage()).refused(TINY, AlreadyExists)


def test_images_and_keypairs_are_their_projects() -> None:
    assert (an_image().send(TINY).now.project, a_keypair().send(ALICE).now.project) == ("p", "p")


def test_a_flavor_changes_in_what_is_given_and_only_if_it_differs() -> None:
    thing = a_flavor().send(SMALL).send(UpdateFlavor(core=4, policy="Dedicated"))
    assert (thing.now.core, thing.now.policy, thing.now.memory, thing.now.name) == (4, "Dedicated", 1 << 30, "small")
    assert thing.now.updated == START + timedelta(seconds=2)
    assert thing.send(UpdateFlavor(core=4)).last == []
    assert thing.send(UpdateFlavor()).last == []


def test_a_flavor_can_be_set_to_what_is_falsy() -> None:
    thing = a_flavor().send(SMALL.but(multi_queue=2)).send(UpdateFlavor(multi_queue=0))
    assert thing.now.multi_queue == 0


def test_extra_specs_are_added_changed_and_removed_to_the_last() -> None:
    thing = a_flavor().send(SMALL).send(AddFlavorExtra(extra={"b": "2", "a": "3"}))
    assert thing.now.extra == {"a": "3", "b": "2"}
    assert thing.send(AddFlavorExtra(extra={"b": "2"})).last == []
    assert thing.send(DeleteFlavorExtra(keys=("a", "nothing"))).now.extra == {"b": "2"}
    assert thing.send(DeleteFlavorExtra(keys=("a",))).last == []
    assert thing.send(DeleteFlavorExtra(keys=("b",))).now.extra == {}


def test_an_event_that_removes_the_last_extra_spec_survives_the_log() -> None:
    (event,) = a_flavor().send(SMALL).send(DeleteFlavorExtra(keys=("a",))).last
    assert type(event).model_validate_json(event.model_dump_json(exclude_defaults=True)) == event


def test_the_kinds_are_what_their_tables_say() -> None:
    assert [type(make().send(create).now) for make, create, _ in EVERY] == [Flavor, Image, Keypair]
