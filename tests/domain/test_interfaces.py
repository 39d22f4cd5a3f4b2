"""Interfaces of an instance that come and go. What all tasks share is walked by table."""

import pytest

from domain.core.errors import InterfaceNotAttached, Invalid, TooManyInterfaces
from domain.core.messages import Key
from domain.instance import decider
from domain.instance.actions.lifecycle.boot import BootInstance
from domain.instance.actions.network.interfaces import (
    MOST_INTERFACES,
    AttachInstanceInterface,
    DetachInstanceInterface,
    PortRef,
)
from domain.network.state import Network
from domain.tasks.events import TaskFailed
from domain.tasks.task import Direction
from tests.harness.samples import NETWORK, sample
from tests.harness.walk import Fate, Walk, Walked, fated

INSTANCE = Key("instance", "00000000-0000-0000-0000-000000000001")


def booted() -> Walk:
    kind = Walked(decider.RULES, decider.decide, sample(BootInstance), INSTANCE)
    return Walk(kind, kind.stage()).send(kind.create).settle()


def taken(walk: Walk) -> set[str]:
    network: Network = walk.stage.states[Key("network", NETWORK)]
    return {port.ip for port in network.ports.values()}


def test_it_may_have_so_many_and_no_more() -> None:
    walk = booted()
    for number in range(1, MOST_INTERFACES):
        walk.send(AttachInstanceInterface(network=NETWORK)).settle()
        assert len(walk.now.nics) == number + 1
    assert {nic.ip for nic in walk.now.nics} == taken(walk)
    with pytest.raises(TooManyInterfaces):
        walk.send(AttachInstanceInterface(network=NETWORK))


def test_of_several_on_one_network_the_one_that_is_named_is_taken_away() -> None:
    walk = booted()
    for _ in range(2):
        walk.send(AttachInstanceInterface(network=NETWORK)).settle()
    first, second, third = walk.now.nics
    walk.twice = True
    walk.send(DetachInstanceInterface(port=second.port_id)).settle()
    assert walk.now.nics == (first, third)
    assert taken(walk) == {first.ip, third.ip}
    walk.assert_consistent()
    with pytest.raises(InterfaceNotAttached):
        walk.send(DetachInstanceInterface(port=second.port_id))


@pytest.mark.parametrize("fate", [Fate.FAILS, Fate.REFUSED, Fate.LATE, Fate.LOST])
@pytest.mark.parametrize("step", [0, 1])
def test_what_could_not_be_added_leaves_the_others_as_they_are(fate: Fate, step: int) -> None:
    walk = booted()
    walk.send(AttachInstanceInterface(network=NETWORK)).settle()
    before, addresses = walk.now.nics, taken(walk)
    walk.fates = fated((Direction.FORWARD, step, fate))
    walk.send(AttachInstanceInterface(network=NETWORK)).settle()
    assert isinstance(walk.ending(walk.task_of("attach-interface")), TaskFailed)
    assert walk.now.nics == before
    assert taken(walk) == addresses
    walk.deliver_late()
    assert (walk.now.nics, taken(walk)) == (before, addresses)


def test_it_has_the_address_the_mac_address_and_the_groups_that_were_asked_for() -> None:
    walk = booted()
    asked = AttachInstanceInterface(
        network=NETWORK, ip="10.0.0.9", mac="52:54:00:AA:00:01", security_group_ids=("g1", "g2")
    )
    walk.send(asked).settle()
    nic = walk.now.nics[1]
    assert (nic.ip, nic.mac) == ("10.0.0.9", "52:54:00:aa:00:01")
    network: Network = walk.stage.states[Key("network", NETWORK)]
    assert network.ports[nic.port_id].security_groups == ("g1", "g2")


def test_no_two_interfaces_of_an_instance_have_one_mac_address() -> None:
    """Its host finds an interface of a guest by it, also among those of other networks."""
    walk = booted()
    own = walk.now.nics[0].mac
    for command in (
        AttachInstanceInterface(network=NETWORK, mac=own.upper()),
        AttachInstanceInterface(port=PortRef(id="p", network_id=NETWORK, mac=own)),
    ):
        with pytest.raises(Invalid):
            walk.send(command)


def test_it_is_a_network_or_a_port() -> None:
    walk = booted()
    port = PortRef(id="p", network_id=NETWORK)
    for command in (
        AttachInstanceInterface(),
        AttachInstanceInterface(network=NETWORK, port=port),
        AttachInstanceInterface(port=port, ip="10.0.0.9"),
        AttachInstanceInterface(port=port, mac="52:54:00:00:00:01"),
        AttachInstanceInterface(port=port, security_group_ids=("g",)),
        AttachInstanceInterface(network=NETWORK, mac="01:00:5e:00:00:01"),
    ):
        with pytest.raises(Invalid):
            walk.send(command)
