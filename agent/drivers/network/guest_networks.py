"""The guest networks of a host, each an island: a bridge without an address of the host, joined to the same network on
other hosts, with services in a namespace of their own.

Why repaired before every use: a host that was restarted has none of this, and finding out what is missing costs a few
milliseconds.
"""

import logging
import socket
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Protocol

from agent.drivers import host_command
from agent.drivers.driver import DriverError
from agent.drivers.network import firewall, namespace, resolvers, security, survey, vxlan
from agent.drivers.network.namespace import there, without_ipv6
from agent.drivers.network.record import Entry, NetworkRecord, NetworkRecords
from agent.drivers.network.security import SecurityGroups
from agent.drivers.network.services import NetworkServices, make_room
from agent.drivers.network.tunnel import Tunnel
from agent.drivers.network.ways_out import Way, WaysOut
from domain.guest_spec import GuestSpec, Nic
from domain.network.on_host import AddressOnHost, HostDifference, HostNetworks, NetworkOnHost, RuleCount
from domain.network.port_settings import HostPorts
from infra.process import failpoints

logger = logging.getLogger(__name__)


MOST_TOLD = 500
"""Differences that are told at once."""


class MetadataSockets(Protocol):
    """The part of the agent that answers what guests ask of the metadata service."""

    def add(self, segment: int, listening: socket.socket) -> None:
        """Take over the socket of a network, in place of an earlier one."""

    def remove(self, segment: int) -> None:
        """Close the socket of a network, where there is one."""


class NobodyAnswers:
    """Takes no sockets: for a host without a metadata service."""

    def add(self, segment: int, listening: socket.socket) -> None:
        """Close the socket, since nobody answers on it."""
        listening.close()

    def remove(self, segment: int) -> None:
        """Do nothing, since there is no socket."""


class GuestNetworks:
    """Every method blocks, is safe to run twice, and raises DriverError and OSError."""

    def __init__(
        self,
        directory: Path,
        uplink: str,
        closed: Iterable[IPv4Network] = (),
        host_id: str = "",
        encrypt: bool = False,
    ) -> None:
        """`directory`: for what the host keeps of its networks; `uplink`: the interface to other hosts, empty where
        there are none; `closed`: ranges that no guest reaches by its network's way out; `host_id`: this
        host's, by which it knows whether it is the one to answer at a port's floating addresses; `encrypt`: whether
        what goes to other hosts is encrypted."""
        self.tunnel = Tunnel(directory, encrypt and bool(uplink))
        self.uplink = vxlan.Uplink(uplink, encrypted=self.tunnel.encrypts)
        self.records = NetworkRecords(directory)
        self.answers: MetadataSockets = NobodyAnswers()
        # Two guests of one network must not both find it missing, nor one leave it while another comes.
        self._locks: defaultdict[int, threading.Lock] = defaultdict(threading.Lock)
        self._listening: set[int] = set()
        self._hosts: Mapping[str, str] = self.records.hosts()
        self._reached: Mapping[str, str] | None = None
        """The hosts that frames are sent to; None before the first repair."""
        self._security = SecurityGroups(self.records)
        self._host_id = host_id
        self._ways = WaysOut(self.uplink, directory, closed)

    def repair(self) -> None:
        """Have every network that the host keeps a record of."""
        make_room()
        firewall.guard(self._hosts, self.tunnel.name)
        own = self.uplink.address()
        reached = self.tunnel.reached({each: key for each, key in self._hosts.items() if each != own})
        self._reached = reached
        for segment in list(self.records.half_removed()):
            with self._locks[segment]:
                if self.records.get(segment) is None:
                    self.records.remove(segment)
        for record in list(self.records.all()):
            with self._locks[record.segment]:
                self._have(record)
        self._security.renew()
        self._let_out()
        # At last, since the guests of one host reach each other without it.
        self.tunnel.have(own, self.uplink.device_mtu() if own else 0, reached)

    def ports(self) -> tuple[str, list[tuple[str, str, str]]]:
        """Return the version of what is known of the guests' ports, and each port's network, address and instance."""
        found = [(each.id, entry.ip, entry.instance_id) for each in self.records.all() for entry in each.entries]
        return self._security.version, found

    def counted(self, group: str = "") -> dict[str, RuleCount]:
        """Return how much each rule of a security group (of all, where none is named) has permitted on this host."""
        return {
            rule: RuleCount(packets=packets, bytes=size)
            for rule, (packets, size) in self._security.counted(group).items()
        }

    def know_ports(self, settings: HostPorts) -> None:
        """Let the ports have these settings, and their networks a way out or none, from now on."""
        self._security.know(settings)
        self._have_ranges(settings)
        self._let_out()
        self._security.in_force()

    def _have_ranges(self, settings: HostPorts) -> None:
        """Have the IPv6 ranges that networks got after guests were here."""
        for segment, found in [
            (each.segment, settings.ranges6[each.id]) for each in self.records.all() if each.id in settings.ranges6
        ]:
            with self._locks[segment]:
                before = self.records.get(segment)
                if before is not None and (after := before.with_range(found.cidr, found.mode)) != before:
                    self.records.put(after)
                    self._have(after)
                    self._security.renew()

    def know_hosts(self, hosts: Mapping[str, str]) -> None:
        """Join every network to those of these hosts, address -> public key of the tunnel, and to no others, from now
        on; have again what somebody took away, ways out as the host's routes and name servers are now, and the limits
        of bandwidth of guests that have started since."""
        self._security.limit()
        if hosts == self._hosts and self._reached is not None:
            try:
                self._mend()
            finally:
                self._let_out()
            return
        self.records.keep_hosts(hosts)
        self._hosts = hosts
        self.repair()

    def told(self) -> HostNetworks:
        """Return the networks that the host keeps, and how what it has differs from that."""
        records, found = self._differences(self._look())
        return HostNetworks(
            networks=tuple(
                NetworkOnHost(
                    id=each.id,
                    segment=each.segment,
                    cidr6=each.cidr6,
                    addresses=tuple(AddressOnHost(ip=e.ip, mac=e.mac, instance_id=e.instance_id) for e in each.entries),
                )
                for each in records
            ),
            differences=tuple(found[:MOST_TOLD]),
            more=max(0, len(found) - MOST_TOLD),
        )

    def _differences(self, seen: survey.Survey) -> tuple[list[NetworkRecord], list[HostDifference]]:
        records = list(self.records.all())
        serving = frozenset(each.segment for each in records if self._services(each.segment).pid())
        ways = [each for each in records if each.id in self._security.known.external and each.segment in serving]
        wanted = survey.NetworksWanted(
            records,
            hosts=frozenset(self._hosts),
            reached=frozenset(self._reached or ()),
            secured=self._security.ports(),
            serving=serving,
            uplink=bool(self.uplink.name),
            external=frozenset(each.segment for each in ways),
            floating={
                address: each.segment
                for each in ways
                for address, _ in self._floating(each, self._security.known)
                if address not in self._hosts
            },
        )
        found = list(survey.differences(seen, wanted))
        if not self.tunnel.stands(self._reached or {}):
            found.append(HostDifference(what=f"tunnel {self.tunnel.name}", missing=True))
        return records, found

    def _look(self) -> survey.Survey:
        return survey.look(self.uplink.name)

    def _mend(self) -> None:
        """Have again what somebody took away; what is too much stays, and is told. One network's failure keeps no other
        from being mended."""
        missing = self._missing(self._look())
        if of_all := missing.get(0):
            logger.warning(
                "what all networks of this host have in common is made again, which lacks: %s", ", ".join(of_all)[:500]
            )
            self.repair()
            missing = self._missing(self._look())
        failed: DriverError | OSError | None = None
        for segment in sorted(missing.keys() - {0}):
            try:
                self._mend_one(segment)
            except (DriverError, OSError) as error:
                failed = error
        if any(what.endswith(security.RENEWED) for each in missing.values() for what in each):
            self._security.renew()
        if failed is not None:
            raise failed

    def _mend_one(self, segment: int) -> None:
        with self._locks[segment]:
            seen = self._look()
            record = self.records.get(segment)
            # What a guest that comes or goes had half of, it has now.
            if record is not None and (lacks := self._missing(seen).get(segment)):
                logger.warning("network %s is mended, which lacks: %s", record.id, ", ".join(lacks)[:500])
                self._have(record)
                survey.rejoin(record, seen)

    def _missing(self, seen: survey.Survey) -> dict[int, list[str]]:
        """Return what is missing, by the segment of its network; 0: what belongs to no one network."""
        found: dict[int, list[str]] = {}
        for each in self._differences(seen)[1]:
            if each.missing:
                found.setdefault(each.segment, []).append(each.what)
        return found

    def ensure(self, segments: Iterable[int]) -> None:
        """Have these networks; one of which there is no record is left to fail."""
        for segment in segments:
            with self._locks[segment]:
                record = self.records.get(segment)
                if record is not None:
                    self._have(record)

    def plug(self, guest: GuestSpec) -> None:
        """Have the guest's networks, and let it send from its addresses in them."""
        for nic in guest.nics:
            with self._locks[nic.segment]:
                before = self.records.get(nic.segment) or NetworkRecord.of(nic)
                record = before.having(Entry(nic.mac, nic.ip, guest.hostname, guest.id))
                record = record.with_range(nic.cidr6, nic.ipv6_mode)
                self.records.put(record)
                failpoints.point("libvirt-half-plugged")
                self._have(record)
                self._security.came(record, record.entries[-1])

    def unplug(self, guest: GuestSpec) -> None:
        """Take the guest's addresses away, and networks that have none left."""
        for nic in guest.nics:
            with self._locks[nic.segment]:
                self._unplug(guest, nic)

    def owner(self, segment: int, ip: str) -> Entry | None:
        """Return who has an address in a network on this host; None where nobody has it."""
        record = self.records.get(segment)
        return next((each for each in record.entries if each.ip == ip), None) if record else None

    def neighbour(self, segment: int, ip: str) -> str:
        """Return the MAC address from which a guest of the network sends as this address; empty where unknown."""
        pid = self._services(segment).pid()
        try:
            lines = Path(f"/proc/{pid}/net/arp").read_text().splitlines()[1:]
        except OSError:
            return ""
        return next((fields[3] for line in lines if (fields := line.split())[0] == ip), "")

    def _let_out(self) -> None:
        """Have the ways out of the networks that are to have one, and name servers asked where there is one."""
        self._ways.have(self._wanted_ways, frozenset(self._hosts))

    def _wanted_ways(self) -> Iterator[Way]:
        external = frozenset(self._security.known.external)
        # A host without a way out is not asked for what only a way out needs.
        mtu, asked = (self.uplink.mtu(), resolvers.servers()) if external else (0, ())
        for record in list(self.records.all()):
            with self._locks[record.segment]:
                services = self._services(record.segment)
                is_external = record.id in external
                services.lead(record, is_external, asked if is_external else ())
                if is_external and (pid := services.pid()):
                    known, before = self._security.known, self._security.before
                    led = self._floating(record, before) if before else ()
                    block = record.interface.network
                    yield Way(record.segment, block, pid, mtu, self._floating(record, known), led)

    def _floating(self, record: NetworkRecord, settings: HostPorts) -> tuple[tuple[str, str], ...]:
        """Return the floating addresses that lead to guests of this host, with each guest's address."""
        guests = {entry.ip: entry.instance_id for entry in record.entries}
        return tuple(
            (address, port.ip)
            for port in settings.ports
            if port.network_id == record.id
            and port.host_id == self._host_id
            and guests.get(port.ip) == port.instance_id
            for address in port.floating
        )

    def _unplug(self, guest: GuestSpec, nic: Nic) -> None:
        before = self.records.get(nic.segment)
        if before is None:
            return
        gone = [each for each in before.entries if each.mac == nic.mac and each.instance_id == guest.id]
        if not gone:
            return
        firewall.forget(replace(before, entries=tuple(gone)))
        # The next guest with its addresses is to have none of them.
        security.end_connections((before.segment, ip) for each in gone for ip in (each.ip, before.ip6(each)) if ip)
        record = before.without(nic.mac)
        failpoints.point("libvirt-half-unplugged")
        if record.entries:
            self.records.put(record)
            self._have(record)
            return
        self.answers.remove(record.segment)
        self._listening.discard(record.segment)
        self._services(record.segment).end()
        vxlan.leave(record.segment)
        namespace.remove(record.bridge)
        firewall.leave(record)
        # At last, since it says what there may be to take away.
        self.records.remove(record.segment)
        self._security.renew()

    def _have(self, record: NetworkRecord) -> None:
        mtu = self.uplink.mtu()
        new = not there(record.bridge)
        if new:
            firewall.guard(self._hosts, self.tunnel.name)
            host_command.run("ip", "link", "add", record.bridge, "mtu", str(mtu), "type", "bridge", "stp_state", "0")
        # Whoever made it may have ended before this.
        without_ipv6(record.bridge)
        # Its packets alone pass the rules of the IP family, where connections are tracked.
        passes = ("nf_call_iptables", "1", "nf_call_ip6tables", "1")
        host_command.run("ip", "link", "set", "dev", record.bridge, "up", "type", "bridge", *passes)
        firewall.admit(record)
        self.uplink.join(record.bridge, record.segment, frozenset(self._reached or ()))
        services = self._services(record.segment)
        if services.have(record, mtu) or record.segment not in self._listening:
            self.answers.add(record.segment, services.metadata_socket())
            self._listening.add(record.segment)
        if new:
            # Its guests may ask its services from now on, and have what was permitted before the host was restarted.
            self._security.renew()

    def _services(self, segment: int) -> NetworkServices:
        return NetworkServices(self.records.directory(segment), segment)
