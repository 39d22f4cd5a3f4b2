"""An instance that moves: what is so at the other host is not so at its own."""

import pytest

from domain.guest_spec import HostRef, Power
from domain.instance.state import Instance
from domain.jobs.guest import PowerSeen
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
    there: Instance = PowerSeen(power=Power.SHUTDOWN).apply(moving, Where.THERE)
    assert there.incoming is not None
    assert (there.power, there.incoming.power) == (Power.RUNNING, Power.SHUTDOWN)
    assert PowerSeen(power=Power.SHUTDOWN).apply(moving, Where.HERE).power is Power.SHUTDOWN
    alone = moving.but(incoming=None)
    assert PowerSeen(power=Power.SHUTDOWN).apply(alone, Where.THERE) == alone


def test_when_its_hosts_change_places_each_keeps_its_power(moving: Instance) -> None:
    moved = moving.moved(Power.SHUTDOWN, moving.updated)
    assert moved.incoming is not None
    assert (moved.power, moved.incoming.power) == (Power.SHUTDOWN, Power.RUNNING)
