"""What a host keeps of its guest networks, and the names that follow from it."""

import json
from pathlib import Path

import pytest

from agent.drivers import host_command
from agent.drivers.driver import DriverError
from agent.drivers.network import security, services, vxlan
from agent.drivers.network.record import Entry, NetworkRecord, NetworkRecords, bridge_name, segment_of, tap_name
from agent.drivers.network.security import SecurityGroups
from agent.drivers.network.services import outside_name
from domain.core.ipv6 import Ipv6Mode
from domain.network.port_settings import HostPorts
from tests.agent.samples import a_nic

LARGEST = 0xFFFFFF
FIRST = Entry("52:54:00:00:00:0a", "10.41.0.10", "web", "one")
SECOND = Entry("52:54:00:00:00:0b", "10.41.0.11", "web", "two")


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    records = NetworkRecords(tmp_path / "networks")
    assert list(records.all()) == []
    record = NetworkRecord.of(a_nic(segment=70000)).having(FIRST)
    records.put(record)
    records.put(NetworkRecord.of(a_nic(segment=7)))
    assert records.get(70000) == record
    assert [each.segment for each in records.all()] == [7, 70000]
    for _ in range(2):
        records.remove(70000)
    assert records.get(70000) is None
    assert [path.name for path in (tmp_path / "networks").iterdir()] == ["7"]


def test_a_record_of_an_earlier_release_has_no_ipv6_range(tmp_path: Path) -> None:
    records = NetworkRecords(tmp_path)
    six = NetworkRecord.of(a_nic().but(cidr6="fd00:1::/64", ipv6_mode=Ipv6Mode.DHCPV6)).having(FIRST)
    records.put(six)
    assert records.get(1) == six
    assert (six.ip6(FIRST), six.gateways6[0]) == ("fd00:1::5054:ff:fe00:a", "fd00:1::1")
    assert six.with_range("", Ipv6Mode.SLAAC) == six, "a guest of before the range takes it from nobody"
    path = records.directory(1) / "network.json"
    kept = json.loads(path.read_text())
    path.write_text(json.dumps({name: each for name, each in kept.items() if name not in ("cidr6", "ipv6_mode")}))
    before = records.get(1)
    assert before == NetworkRecord.of(a_nic()).having(FIRST)
    assert (before.ip6(FIRST), before.gateways6) == ("", ())


def test_an_entry_takes_the_place_of_what_has_its_mac_or_its_address() -> None:
    record = NetworkRecord.of(a_nic()).having(FIRST).having(SECOND)
    assert [each.name for each in record.entries] == ["web", ""], "a name is one address's"
    again = record.having(Entry(FIRST.mac, "10.41.0.12", "web", "one"))
    assert {(each.mac, each.ip) for each in again.entries} == {(FIRST.mac, "10.41.0.12"), (SECOND.mac, SECOND.ip)}
    assert record.having(Entry("52:54:00:00:00:0c", FIRST.ip, "new", "three")).entries[-1].name == "new"
    assert record.without(FIRST.mac).without(FIRST.mac).entries == (record.entries[1],)


@pytest.mark.parametrize("segment", [1, 70000, LARGEST])
def test_names_of_devices_fit_into_the_kernel_and_are_another_networks_never(segment: int) -> None:
    names = [make(segment) for make in (bridge_name, outside_name, vxlan.device_name)]
    names.append(tap_name(segment, "10.41.255.254", 16))
    assert all(len(name) <= 15 for name in names), names
    assert not set(names) & {bridge_name(segment - 1), outside_name(segment - 1), tap_name(segment - 1, "10.0.0.1", 24)}
    assert segment_of(bridge_name(segment)) == segment


@pytest.mark.parametrize("name", ["", "gsb-", "gsb-x", "br0", "gsx-7"])
def test_another_bridge_is_no_networks(name: str) -> None:
    assert segment_of(name) is None


def test_a_gateway_has_a_mac_of_its_network_that_no_guest_has() -> None:
    macs = {NetworkRecord.of(a_nic(segment=each)).gateway_mac for each in (1, 70000, LARGEST)}
    assert len(macs) == 3
    assert all(mac.startswith("56:") for mac in macs)


def test_the_hosts_that_are_known_are_kept(tmp_path: Path) -> None:
    records = NetworkRecords(tmp_path / "networks")
    assert records.hosts() == {}
    records.keep_hosts({"10.0.0.2": "key", "10.0.0.1": ""})
    assert records.hosts() == {"10.0.0.1": "", "10.0.0.2": "key"}
    assert list(records.all()) == []
    # As an earlier release kept them.
    (tmp_path / "networks" / "hosts.json").write_text('["10.0.0.1", "10.0.0.2"]')
    assert records.hosts() == {"10.0.0.1": "", "10.0.0.2": ""}


def test_a_host_without_an_uplink_has_whole_packets() -> None:
    assert vxlan.Uplink("").mtu() == 1500


def test_a_change_that_is_not_in_force_everywhere_is_known_as_such(tmp_path: Path) -> None:
    records = NetworkRecords(tmp_path)
    first, second, third = (HostPorts(version=each) for each in "123")
    records.keep_ports(first)
    records.ports_in_force()
    assert (records.ports(), records.ports_before()) == (first, None)
    records.keep_ports(second)
    records.keep_ports(third)
    assert (records.ports(), records.ports_before()) == (third, first)


def test_settings_that_could_not_be_applied_are_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def run(*command: str, given: str = "", fails: tuple[int, ...] = ()) -> str | None:
        if fails_now:
            raise DriverError(host_command.FAILED, "nft failed")
        ran.append(given)
        return None

    monkeypatch.setattr(host_command, "run", run)
    fails_now = True
    groups = SecurityGroups(NetworkRecords(tmp_path))
    settings = HostPorts(version="1")
    with pytest.raises(DriverError):
        groups.know(settings)
    assert groups.version == ""
    fails_now = False
    assert SecurityGroups(NetworkRecords(tmp_path)).version == "", "by an agent that starts anew, too"
    groups.know(settings)
    assert any(security.TABLE in each for each in ran)
    assert groups.version == ""
    groups.in_force()
    assert groups.version == SecurityGroups(NetworkRecords(tmp_path)).version == "1"
    ran.clear()
    groups.know(settings)
    assert ran == []


def test_files_of_a_network_that_is_removed_are_found(tmp_path: Path) -> None:
    records = NetworkRecords(tmp_path)
    records.put(NetworkRecord.of(a_nic(segment=7)))
    records.keep_hosts({})
    records.directory(8).mkdir()
    assert list(records.half_removed()) == [8]


@pytest.mark.parametrize(("before", "after"), [("128", services.MOST_NETWORKS), ("65536", 65536)])
def test_there_is_room_for_a_dnsmasq_of_each_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, after: int
) -> None:
    monkeypatch.setattr(services, "INOTIFY", tmp_path / "max_user_instances")
    services.INOTIFY.write_text(f"{before}\n")
    for _ in range(2):
        services.make_room()
    assert int(services.INOTIFY.read_text()) == after
