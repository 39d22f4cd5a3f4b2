"""Checks that are made before anything is started, so that a failure names its cause and its cure."""

import errno
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from infra.local.process import Failure

ROOM = 3 << 30
SECTOR = 512
EXIT_PORT = 0xF4
EXIT_VALUE = 0x2A
# QEMU's exit device turns the value v that a guest writes into the exit status 2v + 1.
GUEST_ENDED = 2 * EXIT_VALUE + 1
# A boot sector of two instructions: mov al, EXIT_VALUE; out EXIT_PORT, al; and a halt in case nobody listens.
BOOT_SECTOR = bytes((0xB0, EXIT_VALUE, 0xE6, EXIT_PORT, 0xF4)).ljust(SECTOR - 2, b"\0") + b"\x55\xaa"


def is_root() -> bool:
    """Return whether this process runs as root."""
    return os.geteuid() == 0


def why_not_real_hosts() -> str | None:
    """Return why this machine cannot carry hosts with real guests, or None where it can."""
    if not is_root():
        return "network namespaces need root (`sudo make up` makes real hosts)"
    for program in ("libvirtd", "virtlogd", "virsh", "qemu-system-x86_64", "ip", "nsenter", "unshare"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if not Path("/dev/net/tun").exists():
        return "/dev/net/tun is not there"
    if not Path("/proc/self/ns/net").exists():
        return "this kernel has no network namespaces"
    probe = ["unshare", "--net", "--mount", "--uts", "ip", "link", "add", "type", "veth"]
    done = subprocess.run(probe, capture_output=True, text=True, timeout=20)
    if done.returncode != 0:
        return f"this machine does not allow namespaces and veth devices: {done.stderr.strip()}"
    return None


def kvm_works() -> bool:
    """Return whether hardware virtualization runs a guest: a tiny one is started, and must end by itself.

    Neither the presence of /dev/kvm nor a virtual machine created through it is proof: both succeed on machines where a
    guest then hangs in its firmware.
    """
    qemu = shutil.which("qemu-system-x86_64")
    if qemu is None or not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    with tempfile.NamedTemporaryFile(prefix="gostack-probe-") as disk:
        disk.write(BOOT_SECTOR)
        disk.flush()
        machine = ["-accel", "kvm", "-cpu", "host", "-m", "16", "-nodefaults", "-no-user-config", "-display", "none"]
        ending = ["-no-reboot", "-device", f"isa-debug-exit,iobase={EXIT_PORT:#x},iosize=1"]
        drive = ["-drive", f"file={disk.name},format=raw,if=ide,snapshot=on"]
        try:
            done = subprocess.run([qemu, *machine, *ending, *drive], capture_output=True, timeout=5)
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == GUEST_ENDED


def room(path: Path, needed: int = ROOM) -> None:
    """Check that the disk has `needed` bytes free. Raises Failure where it has not."""
    while not path.exists():
        path = path.parent
    free = shutil.disk_usage(path).free
    if free < needed:
        raise Failure("disk", f"{path} has {free / (1 << 30):.1f} GiB free; {needed >> 30} GiB are needed")


def writable(path: Path) -> None:
    """Check that this user may change a path. Raises Failure where an earlier run left it to another user."""
    if path.exists() and not os.access(path, os.W_OK):
        raise Failure("rights", f"{path} belongs to another user: run this as that user, or `sudo make clean` first")


def port_free(part: str, address: str, port: int) -> None:
    """Check that a port is free. Raises Failure naming the port, the part that needs it, and how to find its user."""
    with socket.socket() as probe:
        # As servers do: a connection that is only dying does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                return
            raise Failure(
                part,
                f"port {port} on {address} is taken by another program; `ss -ltnp sport = :{port}` shows it. "
                "End that, or, if it is left from an earlier run, `make down`",
            ) from error
