"""Volumes: what they are told to be, where they are, and who may have one. What all tasks share is walked by table."""

import uuid

import pytest

from domain.core.errors import (
    HasLocalVolumes,
    InUse,
    Invalid,
    NotFound,
    Refusal,
    TooManyVolumes,
    VolumeNotAttached,
    WrongStatus,
)
from domain.core.messages import Command, Key
from domain.core.resources import Resources
from domain.guest_spec import AttachedVolume
from domain.host.state import Host
from domain.instance import decider as instance_decider
from domain.instance.actions.lifecycle.boot import BootInstance
from domain.instance.actions.lifecycle.delete import DeleteInstance, HardDeleteInstance
from domain.instance.actions.placement.migrate import MigrateInstance
from domain.instance.actions.power.pause import PauseInstance
from domain.instance.actions.power.reboot import HardRebootInstance
from domain.instance.actions.storage.volumes import MOST_VOLUMES, AttachInstanceVolume, DetachInstanceVolume
from domain.tasks.events import TaskFailed, TaskFinished
from domain.tasks.job import Where
from domain.volume.actions import CreateVolume, DeleteVolume, ExtendVolume, UpdateVolume
from domain.volume.decider import RULES, decide
from domain.volume.state import Volume
from tests.harness.samples import sample
from tests.harness.stage import ROOM, Stage, host_key
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


def booted(number: int, stage: Stage | None = None) -> Walk:
    boot = sample(BootInstance, wanted_host=host_key("h1").id, nics=())
    kind = Walked(instance_decider.RULES, instance_decider.decide, boot, Key("instance", str(uuid.UUID(int=number))))
    return Walk(kind, stage or kind.stage()).send(kind.create).settle()


def beside(walk: Walk, host: str = "h1", ident: str = VOLUME.id) -> Walk:
    """A volume on the walk's stage, on this host."""
    create = sample(CreateVolume, name="data", host=host_key(host).id)
    return Walk(Walked(RULES, decide, create, Key("volume", ident)), walk.stage).send(create).settle()


def ending(walk: Walk, command: Command) -> TaskFinished | TaskFailed:
    walk.send(command).settle()
    (ended,) = [each for each in walk.events if isinstance(each, TaskFinished | TaskFailed)][-1:]
    return ended


def test_an_instance_has_its_volume_in_whatever_defines_its_guest_anew_until_it_is_detached() -> None:
    walk = booted(1)
    volume = beside(walk)
    assert isinstance(ending(walk, AttachInstanceVolume(volume_id=VOLUME.id)), TaskFinished)
    assert (volume.now.instance_id, volume.now.current_status) == (walk.now.id, "in_use")
    assert [each.id for each in walk.now.guest_at(Where.HERE).volumes] == [VOLUME.id]
    assert isinstance(ending(walk, HardRebootInstance()), TaskFinished)
    assert [each.name for each in walk.now.volumes] == ["data"]
    with pytest.raises(InUse):
        walk.send(AttachInstanceVolume(volume_id=VOLUME.id))
    with pytest.raises(HasLocalVolumes):
        walk.send(MigrateInstance())
    assert isinstance(ending(walk, DetachInstanceVolume(volume_id=VOLUME.id)), TaskFinished)
    assert (walk.now.volumes, volume.now.instance_id, volume.now.current_status) == ((), "", "available")
    with pytest.raises(VolumeNotAttached):
        walk.send(DetachInstanceVolume(volume_id=VOLUME.id))


def test_two_instances_never_have_one_volume_and_no_host_is_asked() -> None:
    first = booted(1)
    volume = beside(first)
    second = booted(2, first.stage)
    first.send(AttachInstanceVolume(volume_id=VOLUME.id)).settle()
    failed = ending(second, AttachInstanceVolume(volume_id=VOLUME.id))
    assert isinstance(failed, TaskFailed)
    assert failed.fault.code == "in-use"
    assert second.done(second.task_of("attach-volume")) == [], "nobody did anything"
    assert volume.now.instance_id == first.now.id


@pytest.mark.parametrize("which", ["elsewhere", "missing", "deleting"])
def test_only_a_volume_that_is_there_and_free_can_be_had(which: str) -> None:
    walk = booted(1)
    code = {"elsewhere": "volume-elsewhere", "missing": "not-found", "deleting": "wrong-status"}[which]
    if which != "missing":
        volume = beside(walk, "h2" if which == "elsewhere" else "h1")
        if which == "deleting":
            volume.send(DeleteVolume())
            waiting, volume.stage.sent = volume.stage.sent, []
    walk.send(AttachInstanceVolume(volume_id=VOLUME.id)).settle()
    (failed,) = [each for each in walk.events if isinstance(each, TaskFailed)]
    assert failed.fault.code == code
    assert walk.now.volumes == ()
    if which == "deleting":
        volume.stage.sent = waiting
        assert volume.settle().now.current_status == "deleted"


def test_a_soft_deleted_instance_keeps_its_volumes_and_one_that_is_gone_gives_them_back() -> None:
    walk = booted(1)
    volume = beside(walk)
    walk.send(AttachInstanceVolume(volume_id=VOLUME.id)).settle()
    walk.send(DeleteInstance()).settle()
    assert volume.now.instance_id == walk.now.id
    walk.send(HardDeleteInstance()).settle()
    assert (walk.now.vm_state, walk.now.volumes, volume.now.instance_id) == ("deleted", (), "")
    assert volume.send(DeleteVolume()).settle().now.current_status == "deleted"


def test_a_paused_guest_cannot_let_go_and_there_is_a_most() -> None:
    walk = booted(1)
    beside(walk)
    walk.send(PauseInstance()).settle()
    assert isinstance(ending(walk, AttachInstanceVolume(volume_id=VOLUME.id)), TaskFinished)
    with pytest.raises(WrongStatus):
        walk.send(DetachInstanceVolume(volume_id=VOLUME.id))
    many = tuple(AttachedVolume(id=str(uuid.UUID(int=300 + number)), size=1) for number in range(MOST_VOLUMES))
    walk.stage.states[walk.kind.key] = walk.now.but(volumes=many)
    with pytest.raises(TooManyVolumes):
        walk.send(AttachInstanceVolume(volume_id=VOLUME.id))


def test_one_that_is_extended_takes_the_difference_of_its_host() -> None:
    walk = created()
    ended = ending(walk, ExtendVolume(size=3 * SIZE))
    assert isinstance(ended, TaskFinished)
    assert (walk.now.size, walk.now.current_status) == (3 * SIZE, "available")
    assert claims(walk) == [(walk.now.host.name, Resources(disk=3 * SIZE), "volume")]
    version = len(walk.events)
    walk.send(ExtendVolume(size=3 * SIZE))
    assert len(walk.events) == version, "it has that size already"
    with pytest.raises(Invalid) as caught:
        walk.send(ExtendVolume(size=3 * SIZE - 512))
    assert str(caught.value) == f"size is {3 * SIZE - 512} bytes: it has 30 GiB, and never shrinks."
    assert len(walk.events) == version


def test_one_is_not_extended_where_its_host_has_no_room() -> None:
    walk = created()
    ended = ending(walk, ExtendVolume(size=ROOM.disk + SIZE))
    assert isinstance(ended, TaskFailed)
    assert ended.fault.code == "host-full"
    assert ended.fault.message.endswith("no room for it: 1 TiB more of disk, 1014 GiB free.")
    assert walk.done(walk.task_of("extend")) == [], "nobody did anything"
    assert (walk.now.size, walk.now.current_status) == (SIZE, "available")
    assert claims(walk) == [(walk.now.host.name, Resources(disk=SIZE), "volume")]


def test_an_instance_knows_the_size_of_its_volume_that_was_extended() -> None:
    walk = booted(1)
    volume = beside(walk)
    walk.send(AttachInstanceVolume(volume_id=VOLUME.id)).settle()
    assert isinstance(ending(volume, ExtendVolume(size=3 * SIZE)), TaskFinished)
    assert [each.size for each in walk.now.volumes] == [3 * SIZE]
    (step, *_) = [each for each in volume.task_of("extend").plan.steps if each.name == "ExtendVolumeFile"]
    assert step.args["instance_id"] == walk.now.id
    assert walk.now.task is None


def test_a_volume_that_is_being_extended_is_not_attached() -> None:
    walk = booted(1)
    volume = beside(walk)
    volume.send(ExtendVolume(size=3 * SIZE))
    waiting, volume.stage.sent = volume.stage.sent, []
    failed = ending(walk, AttachInstanceVolume(volume_id=VOLUME.id))
    assert isinstance(failed, TaskFailed)
    assert "is extending; attach-volume needs it to be available" in failed.fault.message
    volume.stage.sent = waiting
    assert volume.settle().now.size == 3 * SIZE
