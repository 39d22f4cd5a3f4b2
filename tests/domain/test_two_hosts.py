"""An instance that moves: what is so at the other host is not so at its own."""

import pytest

from domain.guest_spec import HostRef, Power
from domain.instance.state import Instance
from domain.jobs.guest import PowerSeen
from domain.jobs.network import PortBound, PortUnbound
from domain.jobs.scheduling import Placed, Released
from domain.tasks.job import Where
from tests.domain.instances import Scenario

OTHER = HostRef(id="other", name="other", partition=1, epoch=1)


@pytest.fixture
def moving() -> Instance:
    now = Scenario().booted().now
    assert now is not None
    placed: Instance = Placed(host=OTHER, claim="c").apply(now, Where.THERE)
    return placed


def test_a_place_at_the_other_host_leaves_its_own(moving: Instance) -> None:
    assert moving.host is not None
    assert moving.host.id != OTHER.id
    assert moving.held(Where.THERE) == (OTHER, "c")
    assert Released().apply(moving, Where.THERE) == moving.but(incoming=None)


def test_the_power_of_what_is_at_the_other_host_is_not_its_own(moving: Instance) -> None:
    assert PowerSeen(power=Power.SHUTDOWN).apply(moving, Where.THERE) == moving
    assert PowerSeen(power=Power.SHUTDOWN).apply(moving, Where.HERE).power is Power.SHUTDOWN


def test_an_address_that_is_bound_for_the_other_host_is_used_there_alone(moving: Instance) -> None:
    bound = moving.nics[0].but(gateway="10.0.0.77")
    after: Instance = PortBound(nic=0, port=bound).apply(moving, Where.THERE)
    assert after.nics == moving.nics
    assert after.guest_at(Where.THERE).nics == (bound,)
    assert after.guest_at(Where.HERE).nics == moving.nics
    unbound: Instance = PortUnbound(nic=0).apply(after, Where.THERE)
    assert unbound.nics == moving.nics


def test_what_is_bound_for_a_host_that_is_no_longer_there_changes_nothing(moving: Instance) -> None:
    alone = moving.but(incoming=None)
    assert PortBound(nic=0, port=moving.nics[0]).apply(alone, Where.THERE) == alone
