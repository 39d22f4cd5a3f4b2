"""A network gives each address once, and knows whose it is."""

import ipaddress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.core.errors import (
    AddressTaken,
    AlreadyExists,
    InUse,
    Invalid,
    NoAddressLeft,
    NotFound,
    PortBusy,
)
from domain.core.messages import Event, Key, Message
from domain.guest_spec import Nic
from domain.instance.actions.power.stop import StopInstance
from domain.jobs.network import BindNetworkPort, PortBound, PortUnbound, UnbindNetworkPort
from domain.network.evolve import evolve
from domain.network.messages import (
    CreateNetwork,
    CreatePort,
    DeleteNetwork,
    DeletePort,
    GatewayGiven,
    HostAddressGiven,
    HostAddressReturned,
    NetworkCreated,
    NetworkDeleted,
    NetworkUpdated,
    PortBoundToInstance,
    PortCreated,
    PortDeleted,
    PortFreed,
    PortUpdated,
    UpdateNetwork,
    UpdatePort,
)
from domain.network.state import GATEWAY, AddressPair, derived_mac, mac_of
from domain.tasks.messages import JobsAnswered, Reply
from tests.harness.spec import START, Spec


class Lan(Spec):
    """One network's story."""

    def __init__(self) -> None:
        super().__init__("network")

    def nic(self) -> Nic:
        fact = self.answered()
        assert isinstance(fact, PortBound)
        return fact.port


@pytest.fixture
def lan() -> Lan:
    return network("10.0.0.0/24")


def network(cidr: str) -> Lan:
    return Lan().when(CreateNetwork(name="lan", cidr=cidr, segment=0x0A0B0C))


def reply(instance: str, job: str = "job") -> Reply:
    return Reply(subject=f"instance/{instance}", task_id="task", dispatch_id="dispatch", job_id=job)


def bind(port: str = "p1", instance: str = "i1", host: str = "h1", nic: int = 0, **rest: Any) -> BindNetworkPort:
    return BindNetworkPort(reply=reply(instance), nic=nic, port_id=port, instance_id=instance, host_id=host, **rest)


def unbind(port: str = "p1", instance: str = "i1", nic: int = 0) -> UnbindNetworkPort:
    return UnbindNetworkPort(reply=reply(instance), nic=nic, port_id=port, instance_id=instance)


def test_a_network_is_as_it_was_asked_for(lan: Lan) -> None:
    assert (lan.state.name, lan.state.cidr, lan.state.segment, lan.state.project) == (
        "lan",
        "10.0.0.0/24",
        0x0A0B0C,
        "p",
    )
    assert lan.state.created == START + timedelta(seconds=1)


def test_a_network_is_created_once_even_after_it_was_deleted(lan: Lan) -> None:
    again = CreateNetwork(name="lan", cidr="10.0.0.0/24", segment=1)
    lan.when(again).refused(AlreadyExists)
    lan.when(DeleteNetwork()).when(again).refused(AlreadyExists)


@pytest.mark.parametrize("cidr", ["10.0.0.0/15", "10.0.0.0/30", "10.0.0.1/24", "fd00::/64", "lan", ""])
def test_a_network_needs_a_range_of_addresses_of_a_useful_size(cidr: str) -> None:
    refusal = Lan().when(CreateNetwork(name="lan", cidr=cidr, segment=1)).refused(Invalid)
    assert refusal.values["field"] == "cidr"


@pytest.mark.parametrize("cidr", ["0.0.0.0/16", "127.1.0.0/24", "169.254.169.0/24", "224.0.0.0/29", "255.255.255.0/24"])
def test_a_network_has_none_of_the_addresses_that_no_host_may_have(cidr: str) -> None:
    refusal = Lan().when(CreateNetwork(name="lan", cidr=cidr, segment=1)).refused(Invalid)
    assert (refusal.values["field"], "must be outside of" in str(refusal)) == ("cidr", True)


@pytest.mark.parametrize("cidr", ["10.0.0.0/16", "10.0.0.0/29"])
def test_the_largest_and_the_smallest_network_there_may_be(cidr: str) -> None:
    assert network(cidr).when(CreatePort(port_id="p")).state.ports["p"].ip == "10.0.0.2"


def test_nothing_can_be_done_with_a_network_that_is_not_there(lan: Lan) -> None:
    gone = network("10.0.0.0/24").when(DeleteNetwork())
    for each in (Lan(), gone):
        for message in (DeleteNetwork(), CreatePort(port_id="p"), DeletePort(port_id="p"), bind()):
            each.when(message).refused(NotFound)


def test_a_network_with_ports_is_not_deleted_and_says_how_many(lan: Lan) -> None:
    refusal = lan.when(CreatePort(port_id="p", name="db")).when(DeleteNetwork()).refused(InUse)
    assert "in use by 1 port: db (free)" in str(refusal)
    for number in range(4):
        lan.when(CreatePort(port_id=f"p{number}"))
    refusal = lan.when(DeleteNetwork()).refused(InUse)
    assert "in use by 5 ports: " in str(refusal)
    assert "and 2 more" in str(refusal)
    for ident in ("p", *(f"p{number}" for number in range(4))):
        lan.when(DeletePort(port_id=ident))
    lan.when(DeleteNetwork())
    lan.then(NetworkDeleted)


def test_the_first_and_the_last_address_are_nobodys(lan: Lan) -> None:
    small = network("10.0.0.0/29")
    for number in range(5):
        small.when(CreatePort(port_id=f"p{number}"))
    assert sorted(small.state.taken) == [f"10.0.0.{number}" for number in range(1, 7)]
    refusal = small.when(CreatePort(port_id="more")).refused(NoAddressLeft)
    assert "10.0.0.0/29" in str(refusal)


def test_a_freed_address_is_given_again_but_not_at_once(lan: Lan) -> None:
    small = network("10.0.0.0/29")
    small.when(CreatePort(port_id="a")).when(DeletePort(port_id="a")).when(CreatePort(port_id="b"))
    assert small.state.ports["b"].ip == "10.0.0.3", "who still talks to the old one is not answered by the new one"
    for number in range(4):
        small.when(CreatePort(port_id=f"p{number}"))
    assert small.state.ports["p3"].ip == "10.0.0.2"


def test_an_address_may_be_asked_for(lan: Lan) -> None:
    lan.when(CreatePort(port_id="a", ip="10.0.0.77", name="vip"))
    assert (lan.state.ports["a"].ip, lan.state.ports["a"].name, lan.state.ports["a"].keep) == ("10.0.0.77", "vip", True)
    refusal = lan.when(CreatePort(port_id="b", ip="10.0.0.77")).refused(AddressTaken)
    assert refusal.values["port"] == "a"


@pytest.mark.parametrize("ip", ["10.0.0.0", "10.0.0.1", "10.0.0.255", "10.0.1.1", "::1", "x"])
def test_an_address_that_is_no_hosts_in_the_network_is_refused(lan: Lan, ip: str) -> None:
    assert lan.when(CreatePort(port_id="a", ip=ip)).refused(Invalid).values["value"] == ip


def test_a_port_is_created_once(lan: Lan) -> None:
    lan.when(CreatePort(port_id="a")).when(CreatePort(port_id="a")).refused(AlreadyExists)


def test_a_port_that_is_not_there_cannot_be_deleted(lan: Lan) -> None:
    lan.when(DeletePort(port_id="a")).refused(NotFound)


def test_binding_gives_the_nic_all_that_a_guest_needs(lan: Lan) -> None:
    lan.when(bind(nic=3))
    lan.then(PortCreated, PortBoundToInstance)
    nic = lan.nic()
    assert nic == Nic(
        network_id=lan.key.id,
        network_name="lan",
        port_id="p1",
        ip="10.0.0.2",
        prefix=24,
        mac=derived_mac(lan.state, "10.0.0.2"),
        gateway="10.0.0.1",
        segment=0x0A0B0C,
    )
    fact = lan.answered()
    assert isinstance(fact, PortBound)
    assert (fact.nic, lan.state.ports["p1"].instance_id, lan.state.ports["p1"].host_id) == (3, "i1", "h1")


def test_the_answer_goes_to_the_instance_that_asked(lan: Lan) -> None:
    (answer,) = lan.when(bind(instance="i9")).sent
    assert answer.subject == Key("instance", "i9")
    assert isinstance(answer.data, JobsAnswered)
    assert (answer.data.task_id, answer.data.dispatch_id) == ("task", "dispatch")
    assert [(result.job_id, result.name) for result in answer.data.results] == [("job", "BindPort")]


def test_binding_twice_gives_the_same_answer_and_changes_nothing(lan: Lan) -> None:
    first = lan.when(bind()).nic()
    lan.when(bind()).then()
    assert lan.nic() == first


def test_the_gateway_is_the_same_on_every_host(lan: Lan) -> None:
    assert lan.when(bind("p1", "i1", "h1")).nic().gateway == "10.0.0.1"
    assert lan.when(bind("p2", "i2", "h2")).nic().gateway == "10.0.0.1"
    assert lan.state.hosts == {}


def test_a_port_moves_with_its_instance_to_another_host(lan: Lan) -> None:
    before = lan.when(bind(host="h1")).nic()
    assert lan.when(bind(host="h2")).nic() == before
    assert lan.state.ports["p1"].host_id == "h2"


def of_an_earlier_release(*hosts: str) -> Lan:
    """A network without a gateway, in which these hosts have addresses of their own."""
    lan = Lan()
    lan.happened(NetworkCreated(project="p", name="lan", cidr="10.0.0.0/29", segment=7, created=START))
    for number, host in enumerate(hosts):
        lan.happened(HostAddressGiven(host_id=host, ip=f"10.0.0.{5 - number}"))
    return lan


def test_a_network_of_an_earlier_release_gets_a_gateway_that_a_host_had(lan: Lan) -> None:
    old = of_an_earlier_release("h1", "h2").when(bind("p", "i", "h1"))
    old.then(HostAddressReturned, HostAddressReturned, GatewayGiven, PortCreated, PortBoundToInstance)
    assert old.nic().gateway == old.state.gateway == "10.0.0.4"
    assert (old.state.hosts, set(old.state.taken)) == ({}, {"10.0.0.4", old.nic().ip})
    old.when(CreatePort(port_id="q")).then(PortCreated)


def test_a_network_of_an_earlier_release_without_guests_gets_any_gateway() -> None:
    old = of_an_earlier_release().when(CreatePort(port_id="p"))
    old.then(GatewayGiven, PortCreated)
    assert old.state.gateway not in ("", old.state.ports["p"].ip)
    full = of_an_earlier_release()
    for number in range(1, 7):
        full.happened(PortCreated(port_id=f"p{number}", ip=f"10.0.0.{number}", project="p", keep=True, created=START))
    full.when(bind("p", "i", "h1")).refused(NoAddressLeft)
    full.when(DeletePort(port_id="p3")).then(PortDeleted)
    full.when(CreatePort(port_id="q")).refused(NoAddressLeft)


def test_a_port_of_another_instance_is_not_taken_away(lan: Lan) -> None:
    refusal = lan.when(bind(instance="i1")).when(bind(instance="i2")).refused(PortBusy)
    assert refusal.values["device"] == "i1"


def test_a_port_that_was_to_be_kept_and_is_gone_is_not_made_anew(lan: Lan) -> None:
    lan.when(bind(keep_port=True)).refused(NotFound)


def test_a_bind_for_which_no_address_is_left_leaves_nothing_behind() -> None:
    small = network("10.0.0.0/29")
    for number in range(5):
        small.when(CreatePort(port_id=f"p{number}"))
    small.when(bind("last", host="h1")).refused(NoAddressLeft)
    assert "last" not in small.state.ports


def test_unbinding_gives_the_address_back(lan: Lan) -> None:
    lan.when(bind()).when(unbind(nic=2))
    lan.then(PortDeleted)
    assert lan.answered() == PortUnbound(nic=2)
    assert (dict(lan.state.ports), list(lan.state.taken.values())) == ({}, [GATEWAY])


def test_unbinding_keeps_a_port_that_was_there_before_its_instance(lan: Lan) -> None:
    lan.when(CreatePort(port_id="p1")).when(bind(keep_port=True))
    assert lan.nic().keep_port
    lan.when(DeletePort(port_id="p1")).refused(InUse)
    lan.when(unbind())
    lan.then(PortFreed)
    assert lan.state.ports["p1"].instance_id == ""
    lan.when(bind(instance="i2", keep_port=True)).when(unbind(instance="i2")).when(DeletePort(port_id="p1"))


@pytest.mark.parametrize("again", [1, 2])
def test_unbinding_what_is_unbound_is_done_already(lan: Lan, again: int) -> None:
    lan.when(CreatePort(port_id="kept")).when(bind("kept", keep_port=True)).when(bind("p2", "i2"))
    lan.when(unbind("kept")).when(unbind("p2", "i2"))
    for _ in range(again):
        lan.when(unbind("kept")).then()
        assert lan.answered() == PortUnbound(nic=0)
        lan.when(unbind("p2", "i2")).then()


def test_unbinding_finds_the_port_of_a_bind_whose_answer_never_came(lan: Lan) -> None:
    lan.when(bind("made-by-the-lost-bind")).when(unbind(""))
    assert dict(lan.then(PortDeleted).state.ports) == {}


def test_unbinding_never_touches_another_instances_port(lan: Lan) -> None:
    lan.when(bind("p1", "i1"))
    lan.when(unbind("p1", "i2")).then()
    lan.when(unbind("", "i2")).then()
    assert lan.state.ports["p1"].instance_id == "i1"


def test_unbinding_from_a_network_that_is_gone_is_done_already(lan: Lan) -> None:
    lan.when(DeleteNetwork())
    lan.when(unbind()).then()
    assert lan.answered() == PortUnbound(nic=0)
    assert Lan().when(unbind()).answered() == PortUnbound(nic=0)


def test_a_mac_address_is_local_and_made_of_segment_and_address(lan: Lan) -> None:
    assert derived_mac(lan.state, "10.0.0.77") == "52:0b:0c:00:00:4d"


def test_what_a_network_does_not_know_is_an_error_and_no_refusal(lan: Lan) -> None:
    with pytest.raises(TypeError):
        lan.when(StopInstance())
    with pytest.raises(TypeError):
        evolve(None, PortFreed(port_id="p"), "n")
    with pytest.raises(TypeError):
        evolve(lan.state, Event(), "n")


asked = st.lists(
    st.tuples(
        st.sampled_from(["create", "bind", "unbind", "delete", "lost"]),
        st.integers(0, 4),
        st.integers(0, 2),
        st.sampled_from(["", "10.0.0.3", "10.0.0.6"]),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None, database=None, print_blob=True)
@given(asked)
def test_whatever_is_asked_no_address_is_given_twice_and_none_is_lost(story: list[tuple[str, int, int, str]]) -> None:
    lan = network("10.0.0.0/29")
    for what, port, who, ip in story:
        message: Message
        match what:
            case "create":
                message = CreatePort(port_id=f"kept{port}", ip=ip)
            case "bind":
                message = bind(f"p{port}", f"i{port}", f"h{who}", ip=ip)
            case "lost":
                message = unbind("", f"i{port}")
            case "unbind":
                message = unbind(f"p{port}", f"i{port}")
            case _:
                message = DeletePort(port_id=f"kept{port}")
        lan.when(message).refusal = None
        state = lan.state
        addresses = [*(each.ip for each in state.ports.values()), state.gateway]
        assert len(set(addresses)) == len(addresses)
        assert dict(state.taken) == {each.ip: each.id for each in state.ports.values()} | {state.gateway: GATEWAY}
        edges = {state.block.network_address, state.block.broadcast_address}
        assert all(ipaddress.IPv4Address(each) in state.block for each in addresses)
        assert not edges & {ipaddress.IPv4Address(each) for each in addresses}
    again = None
    for event in lan.events:
        again = evolve(again, event, lan.key.id)
    assert again == lan.now


def test_a_network_and_its_ports_are_renamed(lan: Lan) -> None:
    spec = lan.when(CreatePort(port_id="p", name="db"))
    spec.when(UpdateNetwork(name="wan", description="outside"))
    spec.then(NetworkUpdated(name="wan", description="outside", at=spec.time))
    assert (spec.state.name, spec.state.description, spec.state.updated) == ("wan", "outside", spec.time)
    spec.when(UpdateNetwork(name="wan")).then()
    spec.when(UpdateNetwork(description="")).then(NetworkUpdated)
    assert (spec.state.name, spec.state.description) == ("wan", "")
    spec.when(UpdatePort(port_id="p", name="cache")).then(PortUpdated(port_id="p", name="cache"))
    spec.when(UpdatePort(port_id="p", name="cache")).then()
    spec.when(UpdatePort(port_id="p", name="")).then(PortUpdated)
    assert spec.state.ports["p"].name == ""
    spec.when(UpdatePort(port_id="q", name="x")).refused(NotFound)


def test_a_port_has_what_its_user_chose_and_changes_it(lan: Lan) -> None:
    lan.when(
        CreatePort(
            port_id="p1",
            mac="52:54:00:AA:00:01",
            security_groups=("g",),
            allowed_pairs=(AddressPair(cidr="10.9.0.0/24"),),
            egress_kbit=1000,
        )
    )
    port = lan.state.ports["p1"]
    assert mac_of(lan.state, port) == "52:54:00:aa:00:01"
    assert (port.security_groups, port.allowed_pairs[0].cidr, port.egress_kbit) == (("g",), "10.9.0.0/24", 1000)
    lan.when(UpdatePort(port_id="p1", port_security=False, allowed_pairs=()))
    port = lan.state.ports["p1"]
    assert (port.port_security, port.allowed_pairs, port.security_groups) == (False, (), ("g",))
    lan.when(UpdatePort(port_id="p1", port_security=False)).then()


@pytest.mark.parametrize("mac", ["5254", "01:00:5e:00:00:01", "56:00:00:00:00:01", "00:00:00:00:00:00"])
def test_a_mac_address_that_is_no_guests_is_refused(lan: Lan, mac: str) -> None:
    lan.when(CreatePort(port_id="p1", mac=mac)).refused(Invalid)


def test_a_mac_address_that_another_port_has_is_refused(lan: Lan) -> None:
    lan.when(CreatePort(port_id="p1"))
    taken = mac_of(lan.state, lan.state.ports["p1"])
    lan.when(CreatePort(port_id="p2", mac=taken)).refused(AddressTaken)


def test_a_mac_address_that_follows_from_an_address_is_for_a_port_with_that_address_alone(lan: Lan) -> None:
    """Else the port that gets the address next has it, too, and a host takes the two for one."""
    own = derived_mac(lan.state, "10.0.0.9")
    lan.when(CreatePort(port_id="p1", mac=own)).refused(Invalid)
    lan.when(bind(mac=own)).refused(Invalid)
    lan.when(CreatePort(port_id="p1", mac=own, ip="10.0.0.9"))
    # Of an address outside of the network, or of another segment, nobody here will have it.
    lan.when(CreatePort(port_id="p2", mac=derived_mac(lan.state, "10.0.1.9")))
    lan.when(CreatePort(port_id="p3", mac="52:00:00:00:00:09"))
    assert [mac_of(lan.state, lan.state.ports[port]) for port in ("p1", "p2", "p3")] == [
        own,
        "52:0b:0c:00:01:09",
        "52:00:00:00:00:09",
    ]


def test_a_port_that_is_made_for_an_instance_has_the_mac_address_and_the_groups_that_were_asked_for(lan: Lan) -> None:
    lan.when(bind(mac="52:54:00:AA:00:01", ip="10.0.0.9", security_groups=("g",)))
    assert (lan.nic().mac, lan.nic().ip) == ("52:54:00:aa:00:01", "10.0.0.9")
    assert lan.state.ports["p1"].security_groups == ("g",)
    lan.when(bind("p2", "i2", mac="52:54:00:aa:00:01")).refused(AddressTaken)
    lan.when(bind("p2", "i2", mac="5254")).refused(Invalid)
    lan.when(bind(mac="52:54:00:AA:00:01", ip="10.0.0.9", security_groups=("g",))).then()


def test_further_addresses_that_are_none_are_refused(lan: Lan) -> None:
    pair = AddressPair(cidr="10.9.0.1/24")
    lan.when(CreatePort(port_id="p1", allowed_pairs=(pair,))).refused(Invalid)
