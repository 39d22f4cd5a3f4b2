import uuid

import pytest

from agent.drivers.network import vxlan
from agent.drivers.network.xml import (
    Entry,
    NetworkFacts,
    bridge_name,
    network_xml,
    read_network,
)
from tests.agent.samples import NETWORK, a_nic


def test_a_definition_says_again_what_it_was_told() -> None:
    entries = (Entry("52:54:00:00:00:0a", "10.41.0.10", "web"), Entry("52:54:00:00:00:0b", "10.41.0.11"))
    xml = network_xml(a_nic(segment=70000), entries, 1450)
    assert read_network(xml) == NetworkFacts(bridge_name(NETWORK), 70000, entries)


def test_it_gives_addresses_to_those_it_knows_and_to_nobody_else() -> None:
    xml = network_xml(a_nic(), [Entry("52:54:00:00:00:0a", "10.41.0.10")], 1500)
    assert "<range" not in xml
    assert 'value="dhcp-ignore=tag:!known"' in xml


def test_names_of_devices_fit_into_the_kernel() -> None:
    bridge = bridge_name(str(uuid.uuid4()))
    assert len(bridge) <= 15
    assert len(vxlan.device_name(bridge)) <= 15
    assert vxlan.device_name(bridge) != bridge


@pytest.mark.parametrize(
    ("segment", "address"), [(1, "239.77.0.1"), (70000, "239.77.17.112"), (0xFFFFFF, "239.77.255.255")]
)
def test_a_segment_has_a_multicast_group(segment: int, address: str) -> None:
    assert vxlan.group(segment) == address


def test_a_host_without_an_uplink_has_whole_packets() -> None:
    assert vxlan.Uplink("").mtu() == 1500
