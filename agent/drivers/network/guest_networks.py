"""The guest networks of a host: a libvirt network each, joined to the same network on other hosts.

Why repaired before every use: libvirt makes bridges anew after a restart of the host and knows nothing of our port in
them, and finding that out costs a few milliseconds.
"""

import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import libvirt

from agent.drivers.driver import DriverError, DriverFault
from agent.drivers.network import firewall, vxlan
from agent.drivers.network.xml import (
    PREFIX,
    Entry,
    NetworkFacts,
    network_name,
    network_xml,
    read_network,
)
from domain.guest_spec import GuestSpec, Nic

UPDATED = libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG | libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE
ADD = libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST
DELETE = libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE
HOST_ENTRY = libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST


class GuestNetworks:
    """Every method blocks, is safe to run twice, and raises libvirt's errors as they are, and DriverError."""

    def __init__(self, uplink: str) -> None:
        """`uplink`: the interface to other hosts; empty where there are none."""
        self.uplink = vxlan.Uplink(uplink)
        # Two guests of one network must not both find it missing, nor one leave it while another comes.
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def repair(self, connection: libvirt.virConnect) -> None:
        """Have all that is defined running and joined."""
        firewall.guard()
        for network in connection.listAllNetworks():
            if network.name().startswith(PREFIX):
                with self._locks[network.name()]:
                    facts = read_network(network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE))
                    self._run(network, facts)
                    # libvirt may have started it by itself, with the host.
                    _settle(facts.bridge)

    def ensure(self, connection: libvirt.virConnect, names: list[str]) -> None:
        """Have these networks running and joined; one that is not defined is left to fail."""
        for name in names:
            with self._locks[name]:
                network = _found(connection.networkLookupByName, name)
                if network is not None:
                    self._run(network, read_network(network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE)))

    def plug(self, connection: libvirt.virConnect, guest: GuestSpec) -> None:
        """Have the guest's networks with its addresses in them. DriverError "network-overlaps"."""
        for nic in guest.nics:
            with self._locks[network_name(nic.network_id)]:
                self._plug(connection, guest, nic)

    def unplug(self, connection: libvirt.virConnect, guest: GuestSpec) -> None:
        """Take the guest's addresses away, and networks that have none left."""
        for nic in guest.nics:
            with self._locks[network_name(nic.network_id)]:
                network = _look_up(connection, nic)
                if network is not None:
                    self._unplug(network, nic)

    def _plug(self, connection: libvirt.virConnect, guest: GuestSpec, nic: Nic) -> None:
        network = _look_up(connection, nic)
        if network is None:
            firewall.guard()
            xml = network_xml(nic, [Entry(nic.mac, nic.ip, guest.hostname)], self.uplink.mtu())
            network = connection.networkDefineXML(xml)
            try:
                self._run(network, read_network(xml))
            except Exception:
                # Else it would stand in the way of the next attempt, which may bring another address.
                with suppress(libvirt.libvirtError):
                    network.undefine()
                raise
            return
        facts = read_network(network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE))
        self._run(network, facts)
        wanted = _entry(guest, nic, facts)
        for entry in facts.entries:
            if entry == wanted:
                return
            if nic.mac == entry.mac or nic.ip == entry.ip:
                network.update(DELETE, HOST_ENTRY, -1, entry.xml(), UPDATED)
        network.update(ADD, HOST_ENTRY, -1, wanted.xml(), UPDATED)

    def _unplug(self, network: libvirt.virNetwork, nic: Nic) -> None:
        facts = read_network(network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE))
        others = [entry for entry in facts.entries if entry.mac != nic.mac]
        if not others:
            if network.isActive():
                network.destroy()
            network.undefine()
            vxlan.leave(facts.bridge)
            firewall.forget(facts.bridge)
            return
        for entry in facts.entries:
            if entry.mac == nic.mac:
                live = libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE if network.isActive() else 0
                flags = libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG | live
                network.update(DELETE, HOST_ENTRY, -1, entry.xml(), flags)

    def _run(self, network: libvirt.virNetwork, facts: NetworkFacts) -> None:
        if not network.isActive():
            # A device that outlived its bridge is in no bridge any more.
            vxlan.leave(facts.bridge)
            try:
                network.create()
            except libvirt.libvirtError as problem:
                if "already in use" in str(problem):
                    raise DriverError(DriverFault.NETWORK_OVERLAPS, str(problem)) from problem
                raise
            network.setAutostart(True)
            _settle(facts.bridge)
        self.uplink.join(facts.bridge, facts.segment)


def _look_up(connection: libvirt.virConnect, nic: Nic) -> libvirt.virNetwork | None:
    return _found(connection.networkLookupByUUIDString, nic.network_id)


def _found(look: Callable[[str], libvirt.virNetwork], name: str) -> libvirt.virNetwork | None:
    try:
        return look(name)
    except libvirt.libvirtError as problem:
        if problem.get_error_code() == libvirt.VIR_ERR_NO_NETWORK:
            return None
        raise


def _entry(guest: GuestSpec, nic: Nic, facts: NetworkFacts) -> Entry:
    # libvirt takes a name once a network; who comes later is told its name by its metadata alone.
    taken = {entry.name for entry in facts.entries if entry.mac != nic.mac}
    return Entry(nic.mac, nic.ip, "" if guest.hostname in taken else guest.hostname)


def _settle(bridge: str) -> None:
    firewall.admit(bridge)
    # Every host has the metadata service's address: without this each would answer for it on the joined network, and
    # a guest could end up asking a host that does not know it.
    Path(f"/proc/sys/net/ipv4/conf/{bridge}/arp_ignore").write_text("1")
