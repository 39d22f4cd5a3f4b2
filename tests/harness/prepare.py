"""What a verb needs besides the status that it begins in: that what it refers to is there, and as the verb needs it."""

import uuid
from collections.abc import Callable
from typing import Any

from domain.core.messages import Command, Key
from domain.disk_source import DiskRef, NewRoot, RootVolume, VolumeSource
from domain.instance import decider as instance_decider
from domain.instance.actions.lifecycle.boot import BootInstance
from domain.instance.actions.lifecycle.shelve import UnshelveInstance
from domain.instance.actions.network.interfaces import AttachInstanceInterface, DetachInstanceInterface, PortRef
from domain.instance.actions.placement.resize import ResizeInstance
from domain.instance.actions.placement.undecided import ConfirmResize, RevertMigration, RevertResize
from domain.instance.actions.storage.volumes import AttachInstanceVolume, DetachInstanceVolume
from domain.network.messages import CreatePort
from domain.volume import decider
from domain.volume.actions import CreateVolume
from domain.volume_snapshot import decider as snapshot_decider
from domain.volume_snapshot.actions import CreateVolumeSnapshot
from tests.harness.samples import BY_KIND, IMAGE, NETWORK, sample
from tests.harness.stage import Stage, host_key
from tests.harness.walk import Walk, Walked

Prepare = Callable[[Walked, Stage], object]
VOLUME = Walked(decider.RULES, decider.decide, sample(CreateVolume), Key("volume", BY_KIND["volume"][0]))


def volume_beside(kind: Walked, stage: Stage) -> Walk:
    """Create a volume on the instance's host."""
    return Walk(VOLUME, stage).send(sample(CreateVolume, host=stage.states[kind.key].host.id)).settle()


def volume_attached(kind: Walked, stage: Stage) -> Walk:
    """Give the instance a volume."""
    volume_beside(kind, stage)
    return Walk(kind, stage).send(sample(AttachInstanceVolume)).settle()


def interface_attached(kind: Walked, stage: Stage) -> Walk:
    """Give the instance one more interface, with a port that was there before."""
    port_id = BY_KIND["port"][0]
    stage.send(Key("network", NETWORK), CreatePort(port_id=port_id))
    port = PortRef(id=port_id, network_id=NETWORK)
    return Walk(kind, stage).send(AttachInstanceInterface(port=port)).settle()


def disk_in_store(kind: Walked, stage: Stage) -> None:
    """Have the instance's disk in the image store, as it is where an unshelve failed and could not be undone."""
    now = stage.states[kind.key]
    stage.states[kind.key] = now.but(disk_image=now.disk_image or IMAGE)


def volume_in_use(kind: Walked, stage: Stage) -> Walk:
    """Give the volume to an instance of its host."""
    boot = sample(BootInstance, wanted_host=stage.states[kind.key].host.id, nics=())
    user = Walked(instance_decider.RULES, instance_decider.decide, boot, Key("instance", str(uuid.UUID(int=77))))
    walk = Walk(user, stage).send(boot).settle()
    return walk.send(AttachInstanceVolume(volume_id=kind.key.id)).settle()


REACHED: dict[tuple[str, str], Prepare] = {("volume", "in_use"): volume_in_use}
"""Kind and status -> how one comes to have that status, where none of its own verbs leads there."""
PREPARE: dict[type[Command], Prepare] = {
    AttachInstanceVolume: volume_beside,
    DetachInstanceVolume: volume_attached,
    DetachInstanceInterface: interface_attached,
    UnshelveInstance: disk_in_store,
}


def host_full(kind: Walked, stage: Stage) -> Walk:
    """Have the instance's host without room on its disk."""
    host = stage.states[kind.key].host
    room = stage.cell.table.room(host.id)["disk"]
    create = sample(CreateVolume, host=host.id, size=room - room % 512)
    other = Walked(decider.RULES, decider.decide, create, Key("volume", str(uuid.UUID(int=78))))
    return Walk(other, stage).send(create).settle()


def resized_here(kind: Walked, stage: Stage) -> Walk:
    """Have the instance resized on its host, in place of the migration that brought it here."""
    walk = Walk(kind, stage).send(RevertMigration()).settle()
    return walk.send(sample(ResizeInstance)).settle()


COPIED = DiskRef(id=BY_KIND["volume"][1], name="data", size=1 << 30)
"""A volume that is copied."""


def volume_to_copy(kind: Walked, stage: Stage) -> Walk:
    """Create the volume that is copied."""
    create = sample(CreateVolume, name=COPIED.name, size=COPIED.size, image=IMAGE, host=host_key("h1").id)
    other = Walked(decider.RULES, decider.decide, create, Key("volume", COPIED.id))
    return Walk(other, stage).send(create).settle()


SNAPSHOT = DiskRef(id=BY_KIND["volume-snapshot"][0], name="before", size=1 << 30)
"""A snapshot of that volume, of which another one is made."""


def snapshot_to_copy(kind: Walked, stage: Stage) -> Walk:
    """Create the snapshot that is copied, and delete nothing of what it is of."""
    volume_to_copy(kind, stage)
    create = sample(CreateVolumeSnapshot, volume=COPIED)
    other = Walked(snapshot_decider.RULES, snapshot_decider.decide, create, Key("volume-snapshot", SNAPSHOT.id))
    return Walk(other, stage).send(create).settle()


def volume_to_keep(stage: Stage) -> Walk:
    """Create the volume that snapshots are made of."""
    return Walk(VOLUME, stage).send(VOLUME.create).settle()


BEFORE: dict[str, Callable[[Stage], object]] = {"volume-snapshot": volume_to_keep}
"""Kind -> what makes on a stage that of which one of it is made."""
ROOT = RootVolume(id=COPIED.id)
"""That volume, as what an instance boots from."""
NEW_ROOT = RootVolume(
    id=BY_KIND["volume"][2],
    delete_on_termination=True,
    new=NewRoot(name="root", size=1 << 30, source=VolumeSource.of_image(IMAGE)),
)
"""A volume that is made for an instance to boot from, and goes with it."""


WAYS: dict[type[Command], dict[str, Prepare | None]] = {
    ResizeInstance: {"here": None, "elsewhere": host_full},
    # From another host they go the way of a migration's.
    ConfirmResize: {"here": resized_here},
    RevertResize: {"here": resized_here},
    BootInstance: {"local": None, "from-volume": volume_to_copy, "from-new-volume": None},
    CreateVolume: {"empty": None, "of-image": None, "of-volume": volume_to_copy, "of-snapshot": snapshot_to_copy},
}
"""Command -> the ways that it can go, by a name, and what else is before it for each; of the others there is one."""
ASKED: dict[tuple[type[Command], str], dict[str, Any]] = {
    (BootInstance, "from-volume"): {"root": ROOT, "disk": 0, "wanted_host": host_key("h1").id},
    (BootInstance, "from-new-volume"): {"root": NEW_ROOT, "disk": 0},
    (CreateVolume, "of-image"): {"image": IMAGE},
    (CreateVolume, "of-volume"): {"volume": COPIED},
    (CreateVolume, "of-snapshot"): {"snapshot": SNAPSHOT},
}
"""Command and way -> values of its fields by which it goes that way."""


def prepared(kind: Walked, stage: Stage, command: type[Command], status: str, way: str = "") -> Stage:
    """Return the stage, or one like it on which its aggregate has the status in truth, on which this command of it
    finds what it refers to, and on which it goes this way."""
    found = (REACHED.get((kind.key.kind, status)), PREPARE.get(command), WAYS.get(command, {}).get(way))
    for prepare in filter(None, found):
        stage = stage.copy()
        prepare(kind, stage)
    return stage
