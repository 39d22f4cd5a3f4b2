"""Flavors, images and keypairs: small things that are made, changed, deleted and nothing else."""

from datetime import timedelta
from typing import Any

import pytest

from domain.aggregates import AGGREGATES
from domain.core.errors import AlreadyExists, NotFound
from domain.core.messages import Command, Event
from domain.flavor import (
    AddFlavorExtra,
    CreateFlavor,
    DeleteFlavor,
    DeleteFlavorExtra,
    Flavor,
    FlavorUpdated,
    UpdateFlavor,
)
from domain.image import CreateImage, DeleteImage, Image
from domain.instance.actions.power.stop import StopInstance
from domain.keypair import CreateKeypair, DeleteKeypair, Keypair
from tests.harness.spec import ID, START, Spec, given

SMALL = CreateFlavor(name="small", core=1, memory=1 << 30, extra={"a": "1"})
TINY = CreateImage(name="tiny", checksum="0" * 64, format="qcow2", size=5, virtual_size=7, description="d")
ALICE = CreateKeypair(name="alice", public_key="ssh-ed25519 AAAA", fingerprint="SHA256:x")


EVERY = [("flavor", SMALL, DeleteFlavor()), ("image", TINY, DeleteImage()), ("keypair", ALICE, DeleteKeypair())]
every = pytest.mark.parametrize(("kind", "create", "delete"), EVERY, ids=[kind for kind, _, _ in EVERY])


def small(**changes: object) -> Spec:
    return given(SMALL.but(**changes), kind="flavor")


@every
def test_a_thing_is_as_it_was_asked_for(kind: str, create: Command, delete: Command) -> None:
    now = given(create, kind=kind).state
    assert now.id == ID
    assert now.model_dump(include=set(type(create).model_fields)) == create.model_dump()
    assert (now.created, now.updated, now.deleted) == (START + timedelta(seconds=1),) * 2 + (None,)


@every
def test_a_deleted_thing_is_kept_and_says_since_when(kind: str, create: Command, delete: Command) -> None:
    now = given(create, kind=kind).when(delete).state
    assert now.deleted == now.updated == START + timedelta(seconds=2)
    assert now.created == START + timedelta(seconds=1)


@every
def test_nothing_can_be_done_with_what_is_not_there(kind: str, create: Command, delete: Command) -> None:
    given(kind=kind).when(delete).refused(NotFound)
    given(create, delete, kind=kind).when(delete).refused(NotFound)


@every
def test_what_is_there_is_not_made_again(kind: str, create: Command, delete: Command) -> None:
    given(create, kind=kind).when(create).refused(AlreadyExists)


@every
def test_another_kinds_command_or_event_is_an_error_and_no_refusal(kind: str, create: Command, delete: Command) -> None:
    with pytest.raises(TypeError):
        given(create, kind=kind).when(StopInstance())
    thing = given(create, kind=kind).when(delete)
    with pytest.raises(TypeError):
        AGGREGATES[kind].evolve(thing.state, Event(), ID)
    with pytest.raises(TypeError):
        AGGREGATES[kind].evolve(None, thing.last[0], ID)


@every
def test_a_small_thing_asks_nobody(kind: str, create: Command, delete: Command) -> None:
    assert given(create, kind=kind).sent == given(create, delete, kind=kind).sent == []


@every
def test_what_is_deleted_stays_deleted_and_its_id_taken(kind: str, create: Command, delete: Command) -> None:
    given(create, delete, kind=kind).when(create).refused(AlreadyExists)


@pytest.mark.parametrize(("kind", "create", "delete"), [EVERY[0], EVERY[2]], ids=["flavor", "keypair"])
def test_what_an_earlier_release_made_again_under_its_old_id_is_there(
    kind: str, create: Command, delete: Command
) -> None:
    story = given(create, kind=kind)
    made = story.last[0]
    evolve = AGGREGATES[kind].evolve
    again: Any = evolve(given(create, delete, kind=kind).state, made, ID)
    assert again.deleted is None


def test_images_and_keypairs_are_their_projects() -> None:
    assert given(TINY, kind="image").state.project == given(ALICE, kind="keypair").state.project == "p"


def test_a_flavor_changes_in_what_is_given_and_only_if_it_differs() -> None:
    at = START + timedelta(seconds=2)
    changed = (
        small().when(UpdateFlavor(core=4, policy="Dedicated")).then(FlavorUpdated(core=4, policy="Dedicated", at=at))
    )
    assert (changed.state.core, changed.state.memory, changed.state.updated) == (4, 1 << 30, at)
    changed.when(UpdateFlavor(core=4)).then()
    changed.when(UpdateFlavor()).then()


def test_a_flavor_can_be_set_to_what_is_falsy() -> None:
    assert small(multi_queue=2).when(UpdateFlavor(multi_queue=0)).state.multi_queue == 0


def test_extra_specs_are_added_changed_and_removed_to_the_last() -> None:
    thing = small().when(AddFlavorExtra(extra={"b": "2", "a": "3"}))
    assert thing.state.extra == {"a": "3", "b": "2"}
    thing.when(AddFlavorExtra(extra={"b": "2"})).then()
    assert thing.when(DeleteFlavorExtra(keys=("a", "nothing"))).state.extra == {"b": "2"}
    thing.when(DeleteFlavorExtra(keys=("a",))).then()
    assert thing.when(DeleteFlavorExtra(keys=("b",))).then(FlavorUpdated).state.extra == {}


def test_the_kinds_are_what_their_tables_say() -> None:
    assert [type(given(create, kind=kind).state) for kind, create, _ in EVERY] == [Flavor, Image, Keypair]
