"""What a verb needs besides the status that it begins in: that what it refers to is there, and as the verb needs it."""

from collections.abc import Callable

from domain.core.messages import Command, Key
from domain.instance.actions.network.interfaces import AttachInstanceInterface, DetachInstanceInterface, PortRef
from domain.instance.actions.storage.volumes import AttachInstanceVolume, DetachInstanceVolume
from domain.network.messages import CreatePort
from domain.volume import decider
from domain.volume.actions import CreateVolume
from tests.harness.samples import BY_KIND, NETWORK, sample
from tests.harness.stage import Stage
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


PREPARE: dict[type[Command], Prepare] = {
    AttachInstanceVolume: volume_beside,
    DetachInstanceVolume: volume_attached,
    DetachInstanceInterface: interface_attached,
}


def prepared(kind: Walked, stage: Stage, command: type[Command]) -> Stage:
    """Return the stage, or one like it on which this command of its aggregate finds what it refers to."""
    if command not in PREPARE:
        return stage
    stage = stage.copy()
    PREPARE[command](kind, stage)
    return stage
