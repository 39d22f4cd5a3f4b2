"""The services of a network on a host: DHCP, DNS and router advertisements from the gateway's address, in a network
namespace of their own.

Why a namespace each: two networks may have the same range, and the host's routing table must know neither. The
namespace is held by its dnsmasq, and is gone with it, with the pair of devices that leads into the bridge.
"""

import os
import select
import signal
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from agent.drivers import host_command, whole_file
from agent.drivers.driver import DriverError, DriverFault
from agent.drivers.network import namespace
from agent.drivers.network.namespace import there
from agent.drivers.network.record import NetworkRecord
from agent.drivers.network.routes import METADATA_ADDRESS, routes
from domain.core.ipv6 import PREFIX, Ipv6Mode

ACCOUNT = "dnsmasq"
DOMAIN = "internal"
"""Domain of the guests' names. With it no name is a word that dnsmasq takes for something else: `ignore`, `infinite` or
`60` would be one."""
METADATA_PORT = 80
BACKLOG = 128
INSIDE = "net"
END_SECONDS = 5.0
READABLE = 0o644
"""Permissions of the files that dnsmasq reads again as the user that it runs as."""
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
MOST_NETWORKS = 16384
"""Networks for which a host has room."""
LEASE = "10m"
"""How long a lease lasts: after half of it, guests hear that their network leads out by now."""
LEASE6 = "1h"
"""How long a guest keeps an IPv6 address that it hears no more of."""
ADVERTISE_SECONDS = 60
"""Between two router advertisements that nobody asked for."""

_SCRIPT = """
set -e
echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
echo 0 >/proc/sys/net/ipv4/ip_forward
ip -batch - <<END
link set lo up
link add {inside} address {mac} mtu {mtu} type veth peer name {outside} mtu {mtu} netns {host}
address add {gateway} dev {inside}
address add {metadata}/32 dev {inside}
link set {inside} up
END
"""
# No duplicate is looked for: the same addresses are on every host.
_SCRIPT6 = """
set -e
cd /proc/sys/net/ipv6/conf/{inside}
echo 0 >accept_ra
echo 0 >accept_dad
echo 0 >forwarding
ip link set {inside} addrgenmode none
echo 0 >disable_ipv6
{addresses}
cd /
"""
_RUN = 'exec "$@"\n'


def outside_name(segment: int) -> str:
    """Return the name of the device by which the services are a port of the network's bridge."""
    return f"gsd-{segment}"


def way_out_name(segment: int) -> str:
    """Return the name of the host's end of the network's way out."""
    return f"gso-{segment}"


def make_room() -> None:
    """Let as many dnsmasq run as a host may have networks: each holds an instance of inotify, of which the kernel gives
    a user 128 unless it is told otherwise. Raises OSError."""
    if int(INOTIFY.read_text()) < MOST_NETWORKS:
        INOTIFY.write_text(str(MOST_NETWORKS))


class NetworkServices:
    """DHCP, DNS and the metadata socket of one network."""

    def __init__(self, directory: Path, segment: int) -> None:
        """`directory`: for the files of the network's dnsmasq."""
        self._directory = directory
        self._segment = segment
        self._pid_file = directory / "dnsmasq.pid"
        self._hosts = directory / "hosts"
        self._servers = directory / "resolv.conf"
        self._routes = directory / "routes"

    def pid(self) -> int:
        """Return the process id of the running dnsmasq; 0 where none runs."""
        try:
            pid = int(self._pid_file.read_text())
        except (OSError, ValueError):
            return 0
        return pid if f"--pid-file={self._pid_file}" in _command_of(pid) else 0

    def have(self, record: NetworkRecord, mtu: int) -> bool:
        """Have them run, as this release has them, and know the network's guests; return whether they were started just
        now.

        Raises DriverError "host-command-failed", OSError.
        """
        if not self._routes.exists():
            self.lead(record, False, ())
        before, now = self._told(), _lines(record)
        self._tell(now)
        pid = self.pid()
        if pid and there(outside_name(self._segment)):
            # Told of one guest less, dnsmasq keeps the lease, and refuses the address to the next guest that has it.
            if not set(before) <= set(now) or _command_of(pid) != self._command(record, mtu):
                self._restart(pid, record, mtu)
            elif before != now:
                os.kill(pid, signal.SIGHUP)
            self._plug(record.bridge)
            return False
        self.end()
        self._start(record, mtu)
        self._plug(record.bridge)
        return True

    def lead(self, record: NetworkRecord, out: bool, servers: Iterable[str]) -> None:
        """Have guests told by DHCP that the network leads `out`, or not, and names that are no guest's asked of these
        servers, of none where there are none. Raises OSError."""
        files = {
            self._routes: _options(record, out),
            self._servers: "".join(f"nameserver {each}\n" for each in servers),
        }
        changed = {path: text for path, text in files.items() if _read(path) != text}
        for path, text in changed.items():
            whole_file.put(path, text, READABLE)
        if changed and (pid := self.pid()):
            os.kill(pid, signal.SIGHUP)

    def end(self) -> None:
        """End them; where they have ended, nothing changes. Raises DriverError "host-command-failed"."""
        self._end_process()
        # The namespace ends its devices a moment after its last process: their names must be free now.
        for name in (outside_name(self._segment), way_out_name(self._segment)):
            namespace.remove(name)

    def _end_process(self) -> None:
        with suppress(ProcessLookupError):
            if pid := self.pid():
                handle = os.pidfd_open(pid)
                try:
                    # Whose number it is now: the process may have ended before it was held.
                    if self.pid() == pid:
                        _end(handle)
                finally:
                    os.close(handle)

    def _restart(self, pid: int, record: NetworkRecord, mtu: int) -> None:
        """Start dnsmasq anew in the namespace that is there: connections that lead out through it go on."""
        held = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._end_process()
            within = ("nsenter", f"--net=/proc/{os.getpid()}/fd/{held}")
            host_command.run(*within, "sh", "-c", _script6(record) + _RUN, "services", *self._command(record, mtu))
        finally:
            os.close(held)
        self._must_run()

    def metadata_socket(self) -> socket.socket:
        """Open a socket for the metadata service, at its address in the namespace. Raises OSError."""
        with namespace.of_process(self.pid()):
            opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            # The agent before this one may not have closed its own yet.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            opened.bind((METADATA_ADDRESS, METADATA_PORT))
            opened.listen(BACKLOG)
        except OSError:
            opened.close()
            raise
        return opened

    def _start(self, record: NetworkRecord, mtu: int) -> None:
        script = _SCRIPT.format(
            inside=INSIDE,
            outside=outside_name(self._segment),
            mac=record.gateway_mac,
            mtu=mtu,
            host=namespace.own(),
            gateway=record.interface,
            metadata=METADATA_ADDRESS,
        )
        script += _script6(record) + _RUN
        host_command.run("unshare", "--net", "sh", "-c", script, "services", *self._command(record, mtu))
        self._must_run()

    def _must_run(self) -> None:
        if not self.pid():
            raise DriverError(DriverFault.HOST_COMMAND_FAILED, "dnsmasq ended when it was started", str(self._pid_file))

    def _command(self, record: NetworkRecord, mtu: int) -> list[str]:
        network = record.interface.network
        return [
            "dnsmasq",
            "--conf-file=/dev/null",
            f"--pid-file={self._pid_file}",
            f"--user={ACCOUNT}",
            f"--interface={INSIDE}",
            "--except-interface=lo",
            "--bind-interfaces",
            # The names that it knows are the guests'; others are asked of servers only where there is a way out.
            "--no-hosts",
            f"--resolv-file={self._servers}",
            "--no-poll",
            f"--domain={DOMAIN}",
            f"--local=/{DOMAIN}/",
            "--domain-needed",
            "--bogus-priv",
            f"--dhcp-range={network.network_address},static,{network.netmask},{LEASE}",
            f"--dhcp-hostsfile={self._hosts}",
            f"--dhcp-optsfile={self._routes}",
            # Else it says no to guests of other hosts that renew, since it holds itself for the only server.
            "--dhcp-ignore=tag:!known",
            f"--dhcp-lease-max={network.num_addresses * (2 if record.cidr6 else 1)}",
            "--leasefile-ro",
            "--dhcp-authoritative",
            "--no-ping",
            f"--dhcp-option=option:mtu,{mtu}",
            *_options6(record, mtu),
        ]

    def _plug(self, bridge: str) -> None:
        namespace.without_ipv6(outside_name(self._segment))
        host_command.run("ip", "link", "set", "dev", outside_name(self._segment), "master", bridge, "up")

    def _told(self) -> list[str]:
        return _read(self._hosts).splitlines()

    def _tell(self, lines: list[str]) -> None:
        whole_file.put(self._hosts, "".join(f"{line}\n" for line in lines), READABLE)


def _end(handle: int) -> None:
    """End a process, and return once it is over and its sockets are closed, which its command line is gone before."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        signal.pidfd_send_signal(handle, number)
        if select.select([handle], [], [], END_SECONDS)[0]:
            return


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def _options(record: NetworkRecord, out: bool) -> str:
    """Return the options of DHCP by which guests are told their routes."""
    told = [f"{route.to},{route.gateway}" for route in routes(record.gateway, out)]
    # By itself it names its own address as the router. A client that knows routes takes no router (RFC 3442).
    router = f"option:router,{record.gateway}" if out else "option:router"
    return f"{router}\noption:classless-static-route,{','.join(told)}\n"


def _script6(record: NetworkRecord) -> str:
    """Return the commands by which the gateway has its IPv6 addresses; none without a range."""
    if not record.cidr6:
        return ""
    addresses = "\n".join(f"ip address replace {ip}/{PREFIX} dev {INSIDE} nodad" for ip in record.gateways6)
    return _SCRIPT6.format(inside=INSIDE, addresses=addresses)


def _options6(record: NetworkRecord, mtu: int) -> list[str]:
    """Return the options of dnsmasq by which guests learn their IPv6 addresses."""
    if not record.cidr6:
        return []
    first = record.cidr6.partition("/")[0]
    how = "ra-names" if record.ipv6_mode is Ipv6Mode.SLAAC else "static"
    return [
        "--enable-ra",
        # A router that none can go by has a lifetime of 0: the network has no way out by IPv6.
        f"--ra-param={INSIDE},mtu:{mtu},{ADVERTISE_SECONDS},0",
        f"--dhcp-range={first},{how},{PREFIX},{LEASE6}",
    ]


def _lines(record: NetworkRecord) -> list[str]:
    lines = []
    for each in sorted(record.entries, key=lambda each: each.mac):
        ip6, name = record.ip6(each), each.name
        parts = (each.mac, each.ip, f"[{ip6}]" if ip6 else "", f"{name}.{DOMAIN}" if name else "")
        lines.append(",".join(filter(None, parts)))
    return lines


def _command_of(pid: int) -> list[str]:
    """Return the command line of a process; empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []
