"""Volumes: what they are told to be, where they are, and who may have one. What all tasks share is walked by table."""

import uuid
from typing import Any

import pytest

from domain.core.errors import (
    HasLocalVolumes,
    InUse,
    Invalid,
    NotFound,
    Refusal,
    RootIsVolume,
    TooManyVolumes,
    VolumeNotAttached,
    WrongStatus,
)
from domain.core.messages import Command, Key
from domain.core.resources import Resources
from domain.disk_source import DiskRef, NewRoot, RootVolume, SourceKind, VolumeSource
from domain.guest_spec import AttachedVolume, ImageRef
from domain.host.state import Host
from domain.instance import decider as instance_decider
from domain.instance.actions.lifecycle.boot import BootInstance
from domain.instance.actions.lifecycle.delete import DeleteInstance, HardDeleteInstance
from domain.instance.actions.lifecycle.rebuild import RebuildInstance
from domain.instance.actions.lifecycle.rescue import RescueInstance, UnrescueInstance
from domain.instance.actions.lifecycle.restore import RestoreInstance
from domain.instance.actions.placement.migrate import MigrateInstance
from domain.instance.actions.placement.resize import ResizeInstance
from domain.instance.actions.placement.undecided import ConfirmResize, RevertResize
from domain.instance.actions.power.pause import PauseInstance
from domain.instance.actions.power.reboot import HardRebootInstance
from domain.instance.actions.power.suspend import ResumeInstance, SuspendInstance
from domain.instance.actions.storage.image import CreateInstanceImage
from domain.instance.actions.storage.volumes import MOST_VOLUMES, AttachInstanceVolume, DetachInstanceVolume
from domain.tasks.events import TaskFailed, TaskFinished
from domain.tasks.job import Where
from domain.volume.actions import CreateVolume, DeleteVolume, ExtendVolume, UpdateVolume
from domain.volume.decider import MOST_SNAPSHOTS, RULES, decide
from domain.volume.state import Volume
from domain.volume_snapshot import decider as snapshot_decider
from domain.volume_snapshot.actions import CreateVolumeSnapshot, DeleteVolumeSnapshot
from tests.harness.samples import LARGER, sample
from tests.harness.stage import ROOM, Stage, host_key
from tests.harness.walk import Walk, Walked

SIZE = 10 << 30
ID_1 = str(uuid.UUID(int=1))
VOLUME = Key("volume", "00000000-0000-0000-0000-000000000005")


def created(**wanted: Any) -> Walk:
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


IMAGE = ImageRef(id="i", name="tiny", checksum="0" * 64, format="qcow2", size=1, virtual_size=(1 << 26) - 100)
OTHER = Key("volume", "00000000-0000-0000-0000-000000000006")


def copied(walk: Walk, **wanted: Any) -> Walk:
    """A copy of the walk's volume, on its stage: what asks for it is decided, and nothing is done yet."""
    create = CreateVolume(name="copy", **({"volume": ref(walk.now)} | wanted))
    return Walk(Walked(RULES, decide, create, OTHER), walk.stage).send(create)


def ref(volume: Volume) -> DiskRef:
    return DiskRef.model_validate(volume.model_dump(include={"id", "name", "size", "pool_id", "image"}))


def test_one_that_is_made_of_an_image_is_as_large_as_that_and_knows_it() -> None:
    kind = Walked(RULES, decide, CreateVolume(name="root", image=IMAGE), VOLUME)
    walk = Walk(kind, kind.stage()).send(kind.create).settle()
    assert (walk.now.size, walk.now.image, walk.now.current_status) == (1 << 26, IMAGE, "available")
    assert (walk.now.source.kind, walk.now.source.id, walk.now.source.name) == (SourceKind.IMAGE, "i", "tiny")
    steps = [step.name for step in walk.task_of("create").plan.steps]
    assert steps == ["Place", "FetchImage", "CopyToVolume"]
    assert claims(walk) == [(walk.now.host.name, Resources(disk=1 << 26), "volume")]


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({}, "size is missing: an empty volume needs one."),
        ({"image": IMAGE, "size": 1 << 25}, "size is 32 MiB: image tiny needs 64 MiB at least."),
        ({"image": IMAGE.but(min_disk=1 << 30), "size": 1 << 29}, "size is 512 MiB: image tiny needs 1 GiB at least."),
        (
            {"image": IMAGE, "volume": DiskRef(id="v", name="data", size=1)},
            "volume is data: a copy is of one thing: image or volume, not both.",
        ),
    ],
)
def test_what_has_no_room_or_no_meaning_is_refused(wanted: dict[str, Any], told: str) -> None:
    kind = Walked(RULES, decide, CreateVolume(name="root", **wanted), VOLUME)
    with pytest.raises(Invalid) as caught:
        Walk(kind, kind.stage()).send(kind.create)
    assert str(caught.value) == told


def test_a_copy_of_a_volume_is_made_where_that_is_and_says_what_it_is_of() -> None:
    for host in ("h1", "h2", "h3"):
        source = created(host=host_key(host).id)
        walk = copied(source, size=2 * SIZE).settle()
        assert (walk.now.size, walk.now.host.name, walk.now.source.key) == (2 * SIZE, host, str(VOLUME))
        assert source.now.copies == ()
        assert walk.send(DeleteVolume()).settle().now.current_status == "deleted"
        assert source.send(DeleteVolume()).settle().now.current_status == "deleted"


def test_while_it_is_copied_a_volume_stays_as_it_is() -> None:
    walk = booted(1)
    source = beside(walk)
    other = copied(source)
    held = other.stage.sent.pop(0)
    source.stage.send(held.subject, held.data)
    answers, source.stage.sent = source.stage.sent, []
    assert source.now.copies == (str(OTHER),)
    for command in (DeleteVolume(), ExtendVolume(size=2 * SIZE)):
        with pytest.raises(InUse) as caught:
            source.send(command)
        assert str(caught.value) == f"Volume {VOLUME.id} is in use by volume {OTHER.id}, which is copied from it."
    failed = ending(walk, AttachInstanceVolume(volume_id=VOLUME.id))
    assert isinstance(failed, TaskFailed)
    assert failed.fault.code == "in-use"
    source.stage.sent = answers
    assert other.settle().now.current_status == "available"
    assert isinstance(ending(walk, AttachInstanceVolume(volume_id=VOLUME.id)), TaskFinished)


@pytest.mark.parametrize("which", ["attached", "deleting", "missing"])
def test_only_a_volume_that_nothing_is_done_with_is_copied(which: str) -> None:
    walk = booted(1)
    source = beside(walk)
    if which == "attached":
        walk.send(AttachInstanceVolume(volume_id=VOLUME.id)).settle()
    if which == "deleting":
        source.send(DeleteVolume())
    waiting, source.stage.sent = source.stage.sent, []
    wanted = {"volume": DiskRef(id=host_key("h1").id, name="none", size=SIZE)} if which == "missing" else {}
    other = copied(source, **wanted).settle()
    (failed,) = [each for each in other.events if isinstance(each, TaskFailed)]
    code = {"attached": "in-use", "deleting": "wrong-status", "missing": "not-found"}[which]
    assert (failed.fault.code, other.now.current_status, other.now.host) == (code, "error", None)
    assert source.now.copies == ()
    source.stage.sent = waiting


def booted_from(root: RootVolume, stage: Stage | None = None, **wanted: Any) -> Walk:
    boot = sample(BootInstance, root=root, image=IMAGE, disk=0, nics=(), **wanted)
    kind = Walked(instance_decider.RULES, instance_decider.decide, boot, Key("instance", str(uuid.UUID(int=1))))
    return Walk(kind, stage or kind.stage()).send(kind.create).settle()


def new_root(**fields: Any) -> RootVolume:
    made = NewRoot(name="root", size=SIZE, source=VolumeSource.of_image(IMAGE), **fields)
    return RootVolume(id=VOLUME.id, delete_on_termination=True, new=made)


def test_an_instance_that_boots_from_a_volume_needs_no_disk_of_its_host_and_gives_it_back() -> None:
    source = created(image=IMAGE, host=host_key("h2").id)
    walk = booted_from(RootVolume(id=VOLUME.id), source.stage, wanted_host=host_key("h2").id)
    assert (walk.now.vm_state, walk.now.host.name) == ("active", "h2")
    guest = walk.now.guest_at(Where.HERE)
    assert (guest.root_volume_id, [each.id for each in guest.volumes]) == (VOLUME.id, [VOLUME.id])
    flavor = walk.now.flavor
    assert ("h2", Resources(vcpus=flavor.core, memory=flavor.memory), "instance") in claims(walk)
    steps = [step.name for step in walk.task_of("boot").plan.steps]
    assert steps == ["Place", "ReserveVolume", "WriteConfigDrive", "PlugPorts", "DefineGuest", "StartGuest"]
    assert source.now.instance_id == walk.now.id
    walk.send(DeleteInstance()).settle()
    walk.send(RestoreInstance()).settle()
    assert (walk.now.vm_state, source.now.instance_id) == ("active", walk.now.id)
    walk.send(HardDeleteInstance()).settle()
    assert (walk.now.vm_state, source.now.current_status, source.now.instance_id) == ("deleted", "available", "")


def test_what_is_for_local_root_disks_is_refused_before_anything_is_done() -> None:
    source = created(image=IMAGE, host=host_key("h1").id)
    walk = booted_from(RootVolume(id=VOLUME.id), source.stage, wanted_host=host_key("h1").id)
    for command in (
        RebuildInstance(),
        MigrateInstance(),
        CreateInstanceImage(name="copy"),
        ResizeInstance(flavor=LARGER, disk=2 * SIZE),
    ):
        with pytest.raises(RootIsVolume) as caught:
            walk.send(command)
        assert f"boots from volume {VOLUME.id}" in str(caught.value)
    with pytest.raises(InUse):
        walk.send(DetachInstanceVolume(volume_id=VOLUME.id))


def test_it_is_resized_rescued_and_suspended_as_any_other() -> None:
    source = created(image=IMAGE, host=host_key("h1").id)
    walk = booted_from(RootVolume(id=VOLUME.id), source.stage, wanted_host=host_key("h1").id)
    for command, status in (
        (SuspendInstance(), "suspended"),
        (ResumeInstance(), "active"),
        (RescueInstance(), "rescued"),
        (UnrescueInstance(), "active"),
        (ResizeInstance(flavor=LARGER), "resized"),
        (RevertResize(), "active"),
        (ResizeInstance(flavor=LARGER), "resized"),
        (ConfirmResize(), "active"),
    ):
        assert isinstance(ending(walk, command), TaskFinished)
        assert walk.now.vm_state == status
        walk.assert_consistent()
    assert [step.name for step in walk.task_of("resize").plan.steps if "Disk" in step.name] == []


def test_a_volume_that_is_made_for_an_instance_is_on_its_host_and_goes_with_it() -> None:
    walk = booted_from(new_root())
    volume: Volume = walk.stage.states[VOLUME]
    assert (volume.current_status, volume.instance_id, volume.size, volume.image) == ("in_use", ID_1, SIZE, IMAGE)
    assert volume.host is not None
    assert volume.host.id == walk.now.host.id
    assert volume.answer_to is None
    assert walk.now.volumes == (AttachedVolume(id=VOLUME.id, name="root", size=SIZE),)
    walk.send(DeleteInstance()).settle()
    assert walk.stage.states[VOLUME].instance_id == ID_1
    walk.send(HardDeleteInstance()).settle()
    assert (walk.now.vm_state, walk.stage.states[VOLUME].current_status) == ("deleted", "deleted")
    assert claims(walk) == []


def test_where_the_volume_cannot_be_made_the_boot_says_why_and_nothing_is_left() -> None:
    walk = booted_from(new_root(pool_id="00000000-0000-0000-0000-000000000009"))
    (failed,) = [each for each in walk.events if isinstance(each, TaskFailed)]
    assert (failed.fault.code, failed.fault.step) == ("not-found", "MakeVolume")
    assert (walk.now.vm_state, walk.now.volumes) == ("error", ())
    assert walk.stage.states[VOLUME].current_status == "deleted"
    assert claims(walk) == []


def test_a_volume_that_goes_with_its_instance_stays_where_something_is_copied_from_it() -> None:
    walk = booted_from(new_root())
    walk.stage.states[VOLUME] = walk.stage.states[VOLUME].but(copies=(str(OTHER),))
    walk.send(HardDeleteInstance()).settle()
    volume: Volume = walk.stage.states[VOLUME]
    assert (walk.now.vm_state, volume.current_status, volume.instance_id) == ("deleted", "available", "")


def test_a_volume_in_use_or_on_another_host_is_not_booted_from() -> None:
    source = created(image=IMAGE, host=host_key("h2").id)
    walk = booted_from(RootVolume(id=VOLUME.id), source.stage, wanted_host=host_key("h1").id)
    (failed,) = [each for each in walk.events if isinstance(each, TaskFailed)]
    assert (failed.fault.code, walk.now.vm_state, source.now.instance_id) == ("volume-elsewhere", "error", "")


SNAPSHOT = Key("volume-snapshot", "00000000-0000-0000-0000-000000000007")


def snapshot_of(walk: Walk) -> Walk:
    """A snapshot of the walk's volume, on its stage: what asks for it is decided, and nothing is done yet."""
    create = CreateVolumeSnapshot(name="before", volume=ref(walk.now))
    rules, decide = snapshot_decider.RULES, snapshot_decider.decide
    return Walk(Walked(rules, decide, create, SNAPSHOT), walk.stage).send(create)


def test_a_snapshot_is_beside_its_volume_which_is_not_deleted_before_it() -> None:
    source = created(host=host_key("h2").id, image=IMAGE)
    snapshot = snapshot_of(source).settle()
    now = snapshot.now
    assert (now.current_status, now.host.name, now.size) == ("available", "h2", SIZE)
    assert (now.volume_name, now.image) == ("data", IMAGE)
    assert source.now.snapshots == (SNAPSHOT.id,)
    assert ("h2", Resources(disk=SIZE), "volume-snapshot") in claims(snapshot)
    with pytest.raises(InUse) as caught:
        source.send(DeleteVolume())
    assert str(caught.value) == f"Volume {VOLUME.id} is in use by its snapshot {SNAPSHOT.id}."
    source.send(ExtendVolume(size=2 * SIZE)).settle()
    assert (source.now.size, snapshot.now.size) == (2 * SIZE, SIZE)
    snapshot.send(DeleteVolumeSnapshot()).settle()
    assert (snapshot.now.current_status, source.now.snapshots) == ("deleted", ())
    assert source.send(DeleteVolume()).settle().now.current_status == "deleted"


def test_a_volume_of_a_snapshot_is_a_copy_that_needs_it_no_more() -> None:
    source = created(host=host_key("h3").id, image=IMAGE)
    snapshot = snapshot_of(source).settle()
    walk = copied(source, volume=None, snapshot=ref(snapshot.now))
    held = walk.stage.sent.pop(0)
    walk.stage.send(held.subject, held.data)
    answers, walk.stage.sent = walk.stage.sent, []
    with pytest.raises(InUse) as caught:
        snapshot.send(DeleteVolumeSnapshot())
    assert f"in use by volume {OTHER.id}, which is copied from it" in str(caught.value)
    walk.stage.sent = answers
    walk.settle()
    assert (walk.now.host.name, walk.now.source.kind, walk.now.image) == ("h3", SourceKind.SNAPSHOT, IMAGE)
    assert snapshot.send(DeleteVolumeSnapshot()).settle().now.current_status == "deleted"
    assert walk.now.current_status == "available"


def test_a_volume_in_use_has_no_snapshot_made() -> None:
    walk = booted(1)
    source = beside(walk)
    walk.send(AttachInstanceVolume(volume_id=VOLUME.id)).settle()
    snapshot = snapshot_of(source).settle()
    (failed,) = [each for each in snapshot.events if isinstance(each, TaskFailed)]
    assert (failed.fault.code, snapshot.now.current_status, source.now.snapshots) == ("in-use", "error", ())


def test_there_is_a_most_of_snapshots() -> None:
    source = created()
    many = tuple(str(uuid.UUID(int=900 + number)) for number in range(MOST_SNAPSHOTS))
    source.stage.states[VOLUME] = source.now.but(snapshots=many)
    snapshot = snapshot_of(source).settle()
    (failed,) = [each for each in snapshot.events if isinstance(each, TaskFailed)]
    assert (failed.fault.code, source.now.copies) == ("too-many-snapshots", ())
