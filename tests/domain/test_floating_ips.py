"""Floating addresses: to which port one leads, and what is refused."""

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from domain.core.errors import AlreadyExists, InUse, Invalid, NotFound
from domain.core.messages import Command, Decision, Envelope, Event, Key
from domain.floating_ip import (
    AssociateFloatingIp,
    CreateFloatingIp,
    DeleteFloatingIp,
    DisassociateFloatingIp,
    FloatingIp,
    FloatingIpAssociated,
    FloatingIpCreated,
    FloatingIpDeleted,
    FloatingIpDisassociated,
    decide,
    evolve,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ADDRESS = "192.0.2.10"
IDENT = str(uuid.UUID(int=7))
CREATED = FloatingIpCreated(project="p", name=ADDRESS, at=NOW)
LEADS = FloatingIpAssociated(port_id="one", network_id="lan", ip="10.0.0.2", at=NOW)


def given(*events: Event) -> FloatingIp | None:
    now: FloatingIp | None = None
    for event in events:
        now = evolve(now, event, IDENT)
    return now


def when(now: FloatingIp | None, command: Command) -> Decision:
    return decide(now, Envelope(IDENT, command, Key("floating-ip", IDENT), NOW, "test", IDENT, project="p"))


def to(port: str, ip: str = "10.0.0.2") -> AssociateFloatingIp:
    return AssociateFloatingIp(port_id=port, network_id="lan", ip=ip)


def test_an_address_is_held_leads_to_a_port_and_is_given_back() -> None:
    assert when(None, CreateFloatingIp(name=ADDRESS)).events == [CREATED]
    held = given(CREATED)
    assert held is not None
    assert (held.project, held.name, held.port_id) == ("p", ADDRESS, "")
    assert when(held, to("one")).events == [LEADS]
    leading = given(CREATED, LEADS)
    assert leading is not None
    assert (leading.port_id, leading.network_id, leading.ip) == ("one", "lan", "10.0.0.2")
    assert when(leading, DisassociateFloatingIp()).events == [FloatingIpDisassociated(at=NOW)]
    free = given(CREATED, LEADS, FloatingIpDisassociated(at=NOW))
    assert free is not None
    assert (free.port_id, free.network_id, free.ip) == ("", "", "")
    assert when(free, DeleteFloatingIp()).events == [FloatingIpDeleted(at=NOW)]


def test_what_is_so_already_is_no_event() -> None:
    assert when(given(CREATED, LEADS), to("one")).events == []
    assert when(given(CREATED), DisassociateFloatingIp()).events == []


@pytest.mark.parametrize("command", [to("two"), DeleteFloatingIp()])
def test_an_address_that_leads_to_a_port_is_taken(command: Command) -> None:
    with pytest.raises(InUse) as refused:
        when(given(CREATED, LEADS), command)
    assert f"gs floating-ip disassociate {ADDRESS}" in str(refused.value.hint)


def test_the_next_port_of_the_same_address_is_another_one() -> None:
    with pytest.raises(InUse):
        when(given(CREATED, LEADS), to("two", LEADS.ip))


def test_nobody_is_given_an_address_twice() -> None:
    with pytest.raises(AlreadyExists):
        when(given(CREATED), CreateFloatingIp(name=ADDRESS))


@pytest.mark.parametrize("name", ["web", "192.0.2.256", "192.0.2.0/24", "fd00::1", "192.0.2.010"])
def test_what_is_no_address(name: str) -> None:
    with pytest.raises(Invalid) as refused:
        when(None, CreateFloatingIp(name=name))
    assert refused.value.values["field"] == "name"


@pytest.mark.parametrize("events", [(), (CREATED, FloatingIpDeleted(at=NOW))])
@pytest.mark.parametrize("command", [to("one"), DisassociateFloatingIp(), DeleteFloatingIp()])
def test_what_is_not_there_is_not_found(events: tuple[Any, ...], command: Command) -> None:
    with pytest.raises(NotFound):
        when(given(*events), command)
