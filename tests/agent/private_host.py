"""A host of its own for a test: a network, mount and host name space with its own libvirt daemon.

Why so: the driver is proven against the real thing, several hosts on one machine, and nothing of the machine's own
libvirt is touched. Needs root; ends every process it started by ending those of its network namespace.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree as ET

import libvirt

from agent.drivers.libvirt.connection import run_event_loop
from infra import local

CLONE_NEWNET = 0x40000000
START_TIMEOUT = 20.0
END_TIMEOUT = 10.0
NO_KVM = Path(local.__file__).parent / "kvm.sh"
NEEDED = ("libvirtd", "virtlogd", "dnsmasq", "qemu-system-x86_64", "qemu-img", "ip", "nft", "unshare")

SCRIPT = """
set -e
mount --make-rprivate /
hostname "$1"
for each in run/libvirt var/lib/libvirt var/log/libvirt var/cache/libvirt etc/libvirt; do
    mkdir -p "/$each" "$2/root/$each"
done
cp /etc/libvirt/*.conf "$2/root/etc/libvirt/"
printf 'host_uuid = "%s"\\nauth_unix_rw = "none"\\n' "$3" >>"$2/root/etc/libvirt/libvirtd.conf"
for each in run/libvirt var/lib/libvirt var/log/libvirt var/cache/libvirt etc/libvirt; do
    mount --bind "$2/root/$each" "/$each"
done
sh "$4" "$2/dev"
ulimit -n 4096
exec 2>>"$2/daemons.log"
virtlogd -p "$2/virtlogd.pid" &
exec libvirtd -p "$2/libvirtd.pid"
"""


def missing() -> str:
    """What this machine lacks for a private host; empty where it lacks nothing."""
    if os.geteuid() != 0:
        return "root"
    return " ".join(tool for tool in NEEDED if shutil.which(tool) is None)


@contextmanager
def directory() -> Iterator[Path]:
    """A directory that every user may pass through: guests run as one of their own."""
    with TemporaryDirectory(prefix="gs-host-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


class Machine:
    """A network namespace, as a machine that others reach by a wire."""

    def __init__(self) -> None:
        self.name = f"gst{uuid.uuid4().hex[:6]}"
        subprocess.run(["ip", "netns", "add", self.name], check=True)

    def close(self) -> None:
        """Remove it."""
        subprocess.run(["ip", "netns", "del", self.name], check=True)

    def run(self, *command: str, check: bool = True, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        """Run a program in the network namespace."""
        within = ["ip", "netns", "exec", self.name, *command]
        return subprocess.run(within, check=check, timeout=timeout, text=True, capture_output=True)

    def ip(self, *arguments: str) -> str:
        """Run `ip` in the namespace."""
        return self.run("ip", *arguments).stdout


class PrivateHost(Machine):
    """A running libvirt in namespaces of its own."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.socket = directory / "root/run/libvirt/libvirt-sock"
        self.uri = f"qemu+unix:///system?socket={self.socket}"
        self.ip("link", "set", "lo", "up")
        self._host_uuid = str(uuid.uuid4())
        self._daemon: subprocess.Popen[bytes] | None = None
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def bridge(self, *arguments: str) -> str:
        """Run `bridge` in the namespace."""
        return self.run("bridge", *arguments).stdout

    def nft(self, *arguments: str) -> str:
        """Run `nft` in the namespace."""
        return self.run("nft", *arguments).stdout

    def executor(self) -> ThreadPoolExecutor:
        """Threads that live in the namespace."""
        return ThreadPoolExecutor(8, thread_name_prefix=self.name, initializer=self.enter)

    def enter(self) -> None:
        """Move the calling thread into the network namespace."""
        enter(self.name)

    def end_guest(self, instance_id: str) -> None:
        """End the guest's process, as a fault of it would."""
        pid = int((self.socket.parent / f"qemu/gs-{instance_id}.pid").read_text())
        os.kill(pid, signal.SIGKILL)

    def runs(self, instance_id: str) -> bool:
        """Whether the guest has a process."""
        return (self.socket.parent / f"qemu/gs-{instance_id}.pid").exists()

    def serials(self, instance_id: str) -> list[str]:
        """The serial numbers of the guest's disks: of those that it has now and will have when it starts again."""
        return [disk.text or "" for disk in self._devices(instance_id, "disk/serial")]

    def interfaces(self, instance_id: str) -> int:
        """How many network interfaces the guest has now and will have when it starts again."""
        return len(self._devices(instance_id, "interface"))

    def _devices(self, instance_id: str, path: str) -> list[ET.Element]:
        connection = libvirt.open(self.uri)
        try:
            domain = connection.lookupByUUIDString(instance_id)
            now, later = (
                ET.fromstring(domain.XMLDesc(flags)).findall(f"devices/{path}")
                for flags in (0, libvirt.VIR_DOMAIN_XML_INACTIVE)
            )
        finally:
            connection.close()
        assert [each.text for each in now] == [each.text for each in later], "what it has now is not what it will have"
        return now

    def damage_saved_memory(self, instance_id: str) -> None:
        """Cut off half of what was saved of a suspended guest."""
        saved = self.directory / f"root/var/lib/libvirt/qemu/save/gs-{instance_id}.save"
        os.truncate(saved, saved.stat().st_size // 2)

    def restart_daemon(self) -> None:
        """As after an upgrade of libvirt: the daemon goes and comes back, guests run on."""
        self.end_daemon()
        self.start_daemon()

    def end_daemon(self) -> None:
        """The daemon goes."""
        assert self._daemon is not None
        self._daemon.terminate()
        self._daemon.wait(END_TIMEOUT)

    def start_daemon(self) -> None:
        """The daemon comes back, in the namespaces in which virtlogd still is."""
        again = ["libvirtd", "-p", str(self.directory / "libvirtd.pid")]
        with (self.directory / "daemons.log").open("ab") as log:
            # A test may have the agent's umask, with which dnsmasq could not read what the daemon writes for it.
            self._daemon = subprocess.Popen(["nsenter", *self._namespaces(), *again], stderr=log, umask=0o022)
        self._await_daemon()

    def close(self) -> None:
        """End all that runs in the namespace, and remove it."""
        self._await(lambda: not self._signal(signal.SIGTERM))
        self._await(lambda: not self._signal(signal.SIGKILL))
        if self._daemon is not None:
            self._daemon.wait(END_TIMEOUT)
        # The services of guest networks are in namespaces of their own.
        own = f"={self.directory}/".encode()
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                if own in path.read_bytes():
                    os.kill(int(path.parent.name), signal.SIGKILL)
        super().close()

    def _start(self) -> None:
        command = ["ip", "netns", "exec", self.name, "unshare", "--mount", "--uts", "sh", "-c", SCRIPT, "host"]
        self._daemon = subprocess.Popen([*command, self.name, str(self.directory), self._host_uuid, str(NO_KVM)])
        self._await_daemon()

    def _await_daemon(self) -> None:
        run_event_loop()

        def answers() -> bool:
            assert self._daemon is not None
            assert self._daemon.poll() is None, (self.directory / "daemons.log").read_text()
            try:
                libvirt.open(self.uri).close()
            except libvirt.libvirtError:
                return False
            return True

        assert self._await(answers, START_TIMEOUT), "libvirtd does not answer"

    def _namespaces(self) -> list[str]:
        log_daemon = (self.directory / "virtlogd.pid").read_text().strip()
        return ["--net", "--mount", "--uts", "--target", log_daemon]

    def _signal(self, number: int) -> bool:
        """Whether there was anybody to get it."""
        found = subprocess.run(["ip", "netns", "pids", self.name], check=True, text=True, capture_output=True)
        for pid in found.stdout.split():
            try:
                os.kill(int(pid), number)
            except ProcessLookupError:
                continue
        if self._daemon is not None:
            self._daemon.poll()
        return bool(found.stdout.split())

    @staticmethod
    def _await(done: Callable[[], bool], timeout: float = END_TIMEOUT) -> bool:
        until = time.monotonic() + timeout
        while not done():
            if time.monotonic() > until:
                return False
            time.sleep(0.1)
        return True


class Wire:
    """A bridge that joins hosts, as a switch would."""

    def __init__(self) -> None:
        self.name = f"gsw{uuid.uuid4().hex[:6]}"
        for arguments in (
            ("link", "add", "name", self.name, "type", "bridge"),
            ("link", "set", "dev", self.name, "up"),
        ):
            subprocess.run(["ip", *arguments], check=True)

    def plug(self, host: Machine, address: str) -> str:
        """Give the host an interface on it; the interface's name there."""
        outer = f"gsv{uuid.uuid4().hex[:6]}"
        for command in (
            ("ip", "link", "add", "name", outer, "type", "veth", "peer", "name", "up0", "netns", host.name),
            ("ip", "link", "set", "dev", outer, "master", self.name, "up"),
            ("ip", "-n", host.name, "address", "add", address, "dev", "up0"),
            ("ip", "-n", host.name, "link", "set", "dev", "up0", "up"),
        ):
            subprocess.run(command, check=True)
        return "up0"

    def close(self) -> None:
        """Remove it; the hosts' interfaces went with the hosts."""
        subprocess.run(["ip", "link", "del", "dev", self.name], check=True)


def enter(name: str) -> None:
    """Move the calling thread into the network namespace of that name. Raises OSError."""
    handle = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(handle, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(handle)
