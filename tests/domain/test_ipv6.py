"""A network's IPv6 range, and the addresses in it that follow from MAC addresses."""

from ipaddress import IPv6Address, IPv6Network

import pytest

from domain.core.errors import InUse, Invalid
from domain.core.ipv6 import Ipv6Mode, address_of, gateway_of, link_local
from domain.guest_spec import Nic
from domain.network.messages import (
    CreateNetwork,
    CreatePort,
    DeletePort,
    NetworkUpdated,
    UpdateNetwork,
    UpdatePort,
)
from domain.network.state import AddressPair, mac_of
from tests.domain.test_network import Lan, bind

RANGE, OTHER = "fd00:1::/64", "fd00:2::/64"


def network(cidr6: str = "", mode: Ipv6Mode = Ipv6Mode.SLAAC) -> Lan:
    return Lan().when(CreateNetwork(name="lan", cidr="10.0.0.0/24", segment=7, cidr6=cidr6, ipv6_mode=mode))


def test_an_address_is_the_prefix_and_the_mac_address_as_rfc_4291_has_it() -> None:
    mac = "34:56:78:9a:bc:de"
    assert address_of("2001:db8:1:2::/64", mac) == "2001:db8:1:2:3656:78ff:fe9a:bcde"
    assert link_local(mac) == "fe80::3656:78ff:fe9a:bcde"
    assert gateway_of("2001:db8:1:2::/64") == "2001:db8:1:2::1"
    assert (address_of("", mac), address_of(RANGE, ""), gateway_of("")) == ("", "", "")


def test_a_network_has_no_ipv6_unless_it_is_given_a_range() -> None:
    lan = network().when(bind())
    assert (lan.state.cidr6, lan.nic().ip6, lan.nic().gateway6) == ("", "", "")


@pytest.mark.parametrize("mode", Ipv6Mode)
def test_the_interface_of_a_port_has_an_address_in_the_range(mode: Ipv6Mode) -> None:
    lan = network("FD00:1:0::/64", mode).when(bind())
    nic = lan.nic()
    assert lan.state.cidr6 == RANGE, "in its usual form"
    assert (nic.cidr6, nic.ipv6_mode, nic.gateway6) == (RANGE, mode, "fd00:1::1")
    assert nic.ip6 == address_of(RANGE, mac_of(lan.state, lan.state.ports["p1"]))
    assert IPv6Address(nic.ip6) in IPv6Network(RANGE)
    assert Nic(network_id="n", cidr6=RANGE).ip6 == "", "an interface without a port has none"


@pytest.mark.parametrize(
    ("cidr6", "says"),
    [
        ("lan", "IPv6 range"),
        ("10.0.0.0/24", "IPv6 range"),
        ("fd00:1::1/64", "host bits"),
        ("fd00:1::/63", "must be /64"),
        ("fd00:1::/65", "must be /64"),
        ("fd00:1::", "must be /64"),
        ("fd00:1::%eth0/64", "zone"),
        ("::/64", "outside of ::/64"),
        ("::ffff:10.0.0.0/120", "must be /64"),
        ("64:ff9b::/64", "outside of 64:ff9b::/96"),
        ("100::/64", "outside of 100::/64"),
        ("fe80::/64", "outside of fe80::/10"),
        ("fec0:0:0:1::/64", "outside of fec0::/10"),
        ("ff02::/64", "outside of ff00::/8"),
    ],
)
def test_what_is_no_range_for_guests_is_refused(cidr6: str, says: str) -> None:
    for lan, command in (
        (Lan(), CreateNetwork(name="lan", cidr="10.0.0.0/24", segment=7, cidr6=cidr6)),
        (network(), UpdateNetwork(cidr6=cidr6)),
    ):
        refusal = lan.when(command).refused(Invalid)
        assert (refusal.values["field"], says in str(refusal)) == ("cidr6", True), str(refusal)


def test_a_network_gets_its_range_later_and_keeps_it_while_it_has_ports() -> None:
    lan = network().when(CreatePort(port_id="p")).when(UpdateNetwork(cidr6=RANGE, ipv6_mode=Ipv6Mode.DHCPV6))
    lan.then(NetworkUpdated)
    assert (lan.state.cidr6, lan.state.ipv6_mode) == (RANGE, Ipv6Mode.DHCPV6)
    lan.when(UpdateNetwork(cidr6="fd00:1:0::/64")).then()
    for change in ({"cidr6": OTHER}, {"cidr6": ""}, {"ipv6_mode": Ipv6Mode.SLAAC}):
        assert "1 port" in str(lan.when(UpdateNetwork(**change)).refused(InUse))
    lan.when(UpdateNetwork(name="wan"))
    assert (lan.state.name, lan.state.cidr6) == ("wan", RANGE)
    lan.when(DeletePort(port_id="p")).when(UpdateNetwork(cidr6=OTHER, ipv6_mode=Ipv6Mode.SLAAC))
    assert (lan.state.cidr6, lan.state.ipv6_mode) == (OTHER, Ipv6Mode.SLAAC)
    lan.when(UpdateNetwork(cidr6=""))
    assert lan.state.cidr6 == ""


def test_further_addresses_may_be_of_ipv6_where_the_network_is() -> None:
    pairs = (AddressPair(cidr="FD00:1::99"), AddressPair(cidr="fd00:9::/64"), AddressPair(cidr="10.0.9.0/24"))
    lan = network(RANGE).when(CreatePort(port_id="p", allowed_pairs=pairs))
    found = [each.cidr for each in lan.state.ports["p"].allowed_pairs]
    assert found == ["fd00:1::99/128", "fd00:9::/64", "10.0.9.0/24"]
    for wrong in ("fd00:9::1/64", "fd00::1%eth0", "none"):
        refusal = lan.when(UpdatePort(port_id="p", allowed_pairs=(AddressPair(cidr=wrong),))).refused(Invalid)
        assert "IPv4 or IPv6" in str(refusal)
    refusal = network().when(CreatePort(port_id="p", allowed_pairs=pairs[:1])).refused(Invalid)
    assert "no IPv6 range" in str(refusal)
