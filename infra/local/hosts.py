"""Hosts on one machine: to libvirt each is a machine of its own, so that guests really move between them.

A host is three namespaces (network, mounts, host name) held by files, not by a process: whatever runs in it may end
and start again, and the guests stay. A bridge joins the hosts and the machine.
"""

import ipaddress
import pwd
import shutil
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.local.account import Account
from infra.local.layout import Layout
from infra.local.process import Failure, end, every_pid, run
from infra.local.supervisor import Program

BRIDGE = "gsbr0"
UPLINK = "uplink"
# Room for VXLAN's header, so that guests on different hosts keep 1500.
MTU = 1600
MOST = 100
FIRST_ADDRESS = 10
AGENT_PORT = 7490
PINS = Path("/run/gostack/hosts")
OWNER = Path("/run/gostack/project")
NETWORKS = Path("/run/netns")
SCRIPT = Path(__file__).with_name("host.sh")
DIRECTORIES = ("run", "etc", "lib", "log", "state")
QEMU_USER = "libvirt-qemu"
# libvirtd closes every descriptor it could have before it starts a program; where the limit is a billion, that takes
# minutes.
DESCRIPTORS = 4096
SLOW = 10.0

LIBVIRTD = """\
host_uuid = "{uuid}"
unix_sock_rw_perms = "0700"
unix_sock_ro_perms = "0700"
auth_unix_rw = "none"
auth_unix_ro = "none"
log_outputs = "3:stderr"
"""
QEMU = """\
user = "{user}"
group = "{group}"
dynamic_ownership = 1
remember_owner = 0
security_driver = "none"
stdio_handler = "logd"
namespaces = [ ]
cgroup_controllers = [ ]
migration_address = "{address}"
migration_host = "{address}"
"""
VIRTLOGD = """\
log_outputs = "3:stderr"
"""
PROBE = """\
<domain type='qemu'>
  <name>gostack-probe</name>
  <memory unit='MiB'>16</memory>
  <os><type arch='x86_64'>hvm</type></os>
</domain>
"""


def _mounted(path: Path) -> bool:
    """Return whether something is mounted at a path; a bind mount of the same file system too, which os.path.ismount
    misses."""
    return any(line.split()[4] == str(path) for line in Path("/proc/self/mountinfo").read_text().splitlines())


def _held(pin: Path) -> bool:
    """Return whether a file holds a namespace open."""
    return pin.exists() and pin.stat().st_dev == Path("/proc/self/ns/net").stat().st_dev


@dataclass(frozen=True)
class Bridge:
    """The network bridge that connects the hosts, and the machine with them."""

    subnet: ipaddress.IPv4Network

    @property
    def address(self) -> str:
        """The machine's own address on the bridge."""
        return str(self.subnet[1])

    @property
    def floating(self) -> ipaddress.IPv4Network:
        """The floating addresses: a quarter of the subnet, in which neither the machine nor a host has its own."""
        return list(self.subnet.subnets(prefixlen_diff=2))[2]

    def host_address(self, number: int) -> str:
        """Return the address of a host's uplink."""
        return str(self.subnet[FIRST_ADDRESS + number])

    @staticmethod
    def exists() -> bool:
        """Return whether the bridge exists on this machine."""
        return Path(f"/sys/class/net/{BRIDGE}").exists()

    def create(self, layout: Layout) -> None:
        """Create the bridge, unless it exists. Raises Failure where the subnet is taken or another checkout has it."""
        if self.exists():
            owner = OWNER.read_text().strip() if OWNER.exists() else "something else"
            if owner != str(layout.project):
                raise Failure("bridge", f"{BRIDGE} belongs to {owner}: `make down` there first")
            return
        taken = run(["ip", "-4", "route", "show", "root", str(self.subnet)]).stdout.splitlines()
        if taken:
            raise Failure("bridge", f"{self.subnet} is in use ({taken[0].strip()}): `make up SUBNET=10.98.0.0/24`")
        OWNER.parent.mkdir(parents=True, exist_ok=True)
        OWNER.write_text(f"{layout.project}\n")
        run(["ip", "link", "add", BRIDGE, "mtu", str(MTU), "type", "bridge"])
        run(["ip", "address", "add", f"{self.address}/{self.subnet.prefixlen}", "dev", BRIDGE])
        run(["ip", "link", "set", BRIDGE, "up"])

    @staticmethod
    def delete() -> None:
        """Remove the bridge; harmless where it does not exist."""
        if Bridge.exists():
            run(["ip", "link", "delete", BRIDGE])
        OWNER.unlink(missing_ok=True)


@dataclass(frozen=True)
class LocalHost:
    """A host: its namespaces, its libvirt and its agent."""

    number: int
    bridge: Bridge
    layout: Layout

    @property
    def name(self) -> str:
        """The name of the host, which is also its host name inside."""
        return f"host{self.number}"

    @property
    def address(self) -> str:
        """The address of the host on the bridge."""
        return self.bridge.host_address(self.number)

    @property
    def directory(self) -> Path:
        """The directory for files of the host's libvirt and agent."""
        return self.layout.host(self.name)

    @property
    def namespace(self) -> str:
        """The name of the host's network namespace for `ip netns`."""
        return f"gs-{self.name}"

    @property
    def socket(self) -> Path:
        """The path of libvirtd's socket outside of the host; inside it is at libvirt's usual place."""
        return self.directory / "run" / "libvirt-sock"

    @property
    def _pins(self) -> dict[str, Path]:
        return {
            "net": NETWORKS / self.namespace,
            "mnt": PINS / f"{self.name}.mnt",
            "uts": PINS / f"{self.name}.uts",
        }

    @property
    def _outside(self) -> str:
        """The name of the machine's end of the veth pair that connects the host to the bridge."""
        return f"gs-uplink{self.number}"

    def exists(self) -> bool:
        """Return whether all namespaces of the host exist."""
        return all(_held(pin) for pin in self._pins.values())

    def enter(self, *command: str) -> list[str]:
        """Return a command line that runs `command` inside the host, by exec, so that signals reach it."""
        pins = self._pins
        namespaces = [f"--net={pins['net']}", f"--mount={pins['mnt']}", f"--uts={pins['uts']}"]
        # The working directory is that of the mounts entered only when it is looked up there.
        return ["nsenter", *namespaces, "env", "-C", str(self.directory), *command]

    def leaves_traces(self) -> bool:
        """Return whether any part of the host exists, such as a namespace of an interrupted start."""
        return any(pin.exists() for pin in self._pins.values())

    def create(self, neighbours: Sequence["LocalHost"]) -> None:
        """Create the namespaces and what is in them, unless they exist. Raises Failure."""
        if self.exists():
            return
        self.destroy()
        self._write(neighbours)
        self._connect()
        PINS.mkdir(parents=True, exist_ok=True)
        if not _mounted(PINS):
            # A mount namespace can be held only from a mount that does not spread into it.
            run(["mount", "--bind", str(PINS), str(PINS)])
            run(["mount", "--make-private", str(PINS)])
        pins = self._pins
        for kind in ("mnt", "uts"):
            pins[kind].touch()
        fresh = ["unshare", f"--mount={pins['mnt']}", f"--uts={pins['uts']}", "--propagation", "private"]
        inside = [*fresh, "nsenter", f"--net={pins['net']}", "sh", str(SCRIPT), self.name]
        run([*inside, str(self.directory), str(self.layout.emulators)])

    def _write(self, neighbours: Sequence["LocalHost"]) -> None:
        # What libvirt knows of running guests is about processes that are gone when the namespaces are new.
        shutil.rmtree(self.directory / "run", ignore_errors=True)
        for directory in DIRECTORIES:
            (self.directory / directory).mkdir(parents=True, exist_ok=True)
        self.layout.emulators.mkdir(parents=True, exist_ok=True)
        # QEMU goes through here to the disks, as a user that needs to see no other name in it.
        (self.directory / "state").chmod(0o711)
        etc = self.directory / "etc"
        if Path("/etc/libvirt/nwfilter").is_dir():
            shutil.copytree("/etc/libvirt/nwfilter", etc / "nwfilter", dirs_exist_ok=True)
        identity = uuid.uuid5(uuid.NAMESPACE_URL, f"gostack:{self.directory}")
        user = self._qemu_account()
        (etc / "libvirtd.conf").write_text(LIBVIRTD.format(uuid=identity))
        (etc / "virtlogd.conf").write_text(VIRTLOGD)
        (etc / "qemu.conf").write_text(QEMU.format(user=user.name, group=user.gid, address=self.address))
        names = [f"{host.address} {host.name}" for host in neighbours]
        # Here a name is found without asking a server, which a host could not reach and would wait for.
        (self.directory / "hosts").write_text("\n".join(["127.0.0.1 localhost", "::1 localhost", *names, ""]))

    def _qemu_account(self) -> Account:
        """Return user and group for guests: libvirt's own where that user can reach the disks of guests."""
        try:
            entry = pwd.getpwnam(QEMU_USER)
        except KeyError:
            return Account("root", 0, 0, "/root")
        account = Account(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir)
        return account if account.may_enter(self.directory / "state") else Account("root", 0, 0, "/root")

    def _connect(self) -> None:
        run(["ip", "netns", "add", self.namespace])
        inside = ["peer", "name", UPLINK, "mtu", str(MTU), "netns", self.namespace]
        run(["ip", "link", "add", self._outside, "mtu", str(MTU), "type", "veth", *inside])
        run(["ip", "link", "set", self._outside, "master", BRIDGE, "up"])
        address = f"{self.address}/{self.bridge.subnet.prefixlen}"
        run(["ip", "-n", self.namespace, "address", "add", address, "dev", UPLINK])
        run(["ip", "-n", self.namespace, "link", "set", "lo", "up"])
        run(["ip", "-n", self.namespace, "link", "set", UPLINK, "up"])

    def programs(self, environment: dict[str, str]) -> list[Program]:
        """Return the programs of the host: virtlogd, libvirtd and the agent, which gets `environment`."""
        limited = ("prlimit", f"--nofile={DESCRIPTORS}")
        agent = {
            **environment,
            "GOSTACK_AGENT__NAME": self.name,
            "GOSTACK_AGENT__STATE": str(self.directory / "state"),
            "GOSTACK_AGENT__ADDRESS": self.address,
            "GOSTACK_AGENT__PORT": str(AGENT_PORT),
            "GOSTACK_AGENT__UPLINK": UPLINK,
            "GOSTACK_METRICS__LISTEN": self.address,
            "GOSTACK_AGENT__LIBVIRT_URI": "qemu:///system",
        }
        command = self.enter(self.layout.program("gostack"), "agent")
        return [
            Program(f"{self.name}-virtlogd", self.enter(*limited, "virtlogd"), self.directory),
            Program(f"{self.name}-libvirtd", self.enter(*limited, "libvirtd"), self.directory),
            Program(f"{self.name}-agent", command, self.directory, environment=agent),
        ]

    def virsh(self, *command: str, timeout: float = 60.0, check: bool = True) -> str:
        """Run virsh against this host from outside, and return its output. Raises Failure."""
        uri = f"qemu+unix:///system?socket={self.socket}"
        return run(["virsh", "-q", "-c", uri, *command], timeout=timeout, check=check).stdout

    def libvirt_answers(self) -> bool:
        """Return whether libvirtd answers and has examined its emulators."""
        # `capabilities` looks at every emulator there is: what takes a while the first time is over after it.
        return self.socket.exists() and bool(self.virsh("capabilities", check=False))

    def seconds_to_start(self, limit: float = SLOW) -> float:
        """Return how many seconds the smallest guest takes to start; measuring ends soon after `limit` seconds."""
        probe = self.directory / "probe.xml"
        probe.write_text(PROBE)
        self.virsh("destroy", "gostack-probe", check=False)
        begun = time.monotonic()
        try:
            self.virsh("create", str(probe), "--paused", timeout=limit + 1)
        except Failure as failure:
            if time.monotonic() - begun < limit:
                raise Failure(self.name, f"cannot start a guest: {failure.reason}") from failure
            return time.monotonic() - begun
        seconds = time.monotonic() - begun
        self.virsh("destroy", "gostack-probe")
        return seconds

    def reaches(self, other: "LocalHost") -> bool:
        """Return whether the address of another host answers a ping from inside this one."""
        ping = self.enter("ping", "-c", "1", "-W", "3", other.address)
        return run(ping, check=False, timeout=10).returncode == 0

    def pids(self) -> list[int]:
        """Return the pids of all processes inside the host, guests included, whoever started them."""
        wanted = {(kind, pin.stat().st_ino) for kind, pin in self._pins.items() if _held(pin)}
        found = []
        for pid in every_pid():
            for kind, inode in wanted:
                try:
                    here = Path(f"/proc/{pid}/ns/{kind}").stat().st_ino
                except OSError:
                    break
                if here == inode:
                    found.append(pid)
                    break
        return found

    def destroy(self) -> None:
        """End what runs inside and remove the namespaces; doing it again is harmless. Raises Failure."""
        left = end(self.pids())
        if left:
            raise Failure(self.name, f"processes {left} cannot be ended")
        for kind, pin in self._pins.items():
            if kind == "net":
                continue
            if _held(pin):
                run(["umount", str(pin)])
            pin.unlink(missing_ok=True)
        if self._pins["net"].exists():
            # The kernel takes its time to end a namespace, and only then its devices: their names must be free now.
            run(["ip", "link", "delete", self._outside], check=False)
            run(["ip", "netns", "delete", self.namespace])


def existing(bridge: Bridge, layout: Layout) -> list[LocalHost]:
    """Return the hosts of this or an earlier `up` that exist on this machine."""
    hosts = [LocalHost(number, bridge, layout) for number in range(1, MOST + 1)]
    return [host for host in hosts if host.leaves_traces()]


def forget_pins() -> None:
    """Remove the directory that holds namespaces open, once no host is left."""
    if _mounted(PINS):
        run(["umount", str(PINS)])
    if PINS.exists() and not any(PINS.iterdir()):
        PINS.rmdir()
    if PINS.parent.exists() and not any(PINS.parent.iterdir()):
        PINS.parent.rmdir()
