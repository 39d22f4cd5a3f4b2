"""Make the machine and the project's environment ready: says what is missing and what for, then installs it.

Doing it again costs milliseconds. Nothing that gets installed is left running: the cluster has servers of its own.
"""

import hashlib
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.local import postgres
from infra.local.account import invoker
from infra.local.checks import is_root
from infra.local.layout import Layout
from infra.local.process import Failure, run
from infra.local.progress import ProgressLine, say, warn

UV = "0.13.9"
OLDEST_PYTHON = (3, 11)
OLDEST_JAVA = 17
POLICY = Path("/usr/sbin/policy-rc.d")
BUILT_FROM_SOURCE = "libvirt-python"


def _program(*names: str) -> Callable[[], bool]:
    return lambda: all(shutil.which(name) for name in names)


def _file(*paths: str) -> Callable[[], bool]:
    return lambda: all(Path(path).exists() for path in paths)


def _java() -> bool:
    try:
        said = subprocess.run(["java", "-version"], capture_output=True, text=True, timeout=30).stderr
    except FileNotFoundError:
        return False
    match = re.search(r'version "(\d+)', said)
    return bool(match and int(match[1]) >= OLDEST_JAVA)


def _postgres() -> bool:
    try:
        return postgres.binaries().is_dir()
    except Failure:
        return False


@dataclass(frozen=True)
class Need:
    """A part that the cluster needs; the first of `packages` that this release of the system has brings it."""

    packages: tuple[str, ...]
    why: str
    found: Callable[[], bool]
    # Without the others hosts can still be simulated.
    always: bool = False


JAVA = ("openjdk-17-jre-headless", "openjdk-21-jre-headless", "default-jre-headless")
NEEDS = (
    Need(("postgresql",), "state and read models", _postgres, always=True),
    Need(JAVA, "Kafka runs on it", _java, always=True),
    Need(("maven",), "fetches Kafka's jars", _program("mvn"), always=True),
    Need(("python3-venv",), "the project's environment", lambda: bool(_pythons(headers=False)), always=True),
    Need(("iproute2",), "networks of the hosts", _program("ip"), always=True),
    Need(("python3-dev",), "builds the libvirt binding", lambda: bool(_pythons(headers=True))),
    Need(("gcc",), "builds the libvirt binding", _program("gcc")),
    Need(("pkg-config",), "builds the libvirt binding", _program("pkg-config")),
    Need(("libvirt-dev",), "builds the libvirt binding", _file("/usr/include/libvirt/libvirt.h")),
    Need(("libvirt-daemon-system",), "runs the guests", _program("libvirtd", "virtlogd")),
    Need(
        ("libvirt-daemon-driver-qemu",),
        "runs the guests",
        lambda: any(Path("/usr/lib").glob("*/libvirt/connection-driver/libvirt_driver_qemu.so")),
    ),
    Need(("libvirt-clients",), "looks at the guests", _program("virsh")),
    Need(("qemu-system-x86",), "runs the guests", _program("qemu-system-x86_64")),
    Need(("qemu-utils",), "disk images", _program("qemu-img")),
    Need(("iproute2",), "joins the guests' networks", _program("bridge")),
    Need(
        ("util-linux",),
        "services of the guests' networks, limits",
        _program("unshare", "nsenter", "setpriv", "prlimit"),
    ),
    Need(("iputils-ping",), "checks the hosts' network", _program("ping")),
    Need(("nftables",), "filters the guests' networks", _program("nft")),
    Need(("conntrack",), "ends connections that are permitted no more", _program("conntrack")),
    Need(("dnsmasq-base",), "gives the guests addresses", _program("dnsmasq")),
    Need(("wireguard-tools",), "encrypts what guests send from host to host", _program("wg")),
    Need(("wireguard-go",), "the same, where the kernel cannot", _program("wireguard-go")),
    Need(("busybox-static",), "the tiny guest", _program("busybox")),
    Need(("cpio",), "the tiny guest", _program("cpio")),
    Need(("syslinux",), "the tiny guest", _program("syslinux")),
    Need(("syslinux-common",), "the tiny guest", _file("/usr/lib/syslinux/mbr/mbr.bin")),
    Need(("mtools",), "the tiny guest", _program("mcopy")),
    Need(("dosfstools",), "the tiny guest", _program("mkfs.vfat")),
    Need(("fdisk",), "the tiny guest", _program("sfdisk")),
    Need(("mmdebstrap",), "the Debian guest of the tests", _program("mmdebstrap")),
    Need(("e2fsprogs",), "the Debian guest of the tests", _program("mke2fs")),
)
_BINDINGS = Path("/usr/lib/python3/dist-packages")
# Where the cluster has a Ceph, and only there.
CEPH = (
    Need(("ceph-mon",), "Ceph's monitor", _program("ceph-mon", "monmaptool"), always=True),
    Need(("ceph-osd",), "keeps the data of Ceph", _program("ceph-osd"), always=True),
    Need(("ceph-mgr",), "knows how full Ceph is", _program("ceph-mgr"), always=True),
    Need(("ceph-common",), "talks to Ceph", _program("ceph", "ceph-authtool"), always=True),
    Need(("python3-rados",), "the same, for agents", lambda: any(_BINDINGS.glob("rados*.so")), always=True),
    Need(("python3-rbd",), "images in Ceph, for agents", lambda: any(_BINDINGS.glob("rbd*.so")), always=True),
    Need(
        ("qemu-block-extra",),
        "disks of guests in Ceph",
        lambda: any(Path("/usr/lib").glob("*/qemu/block-rbd.so")),
        always=True,
    ),
)
# Where tests run against containers, and only there.
DOCKER = Need(("docker-cli", "docker.io"), "talks to Docker", _program("docker"), always=True)
DOCKERD = Need(("docker.io",), "runs containers", _program("dockerd"), always=True)
MMDEBSTRAP = Need(("mmdebstrap",), "makes the containers' Debian", _program("mmdebstrap"), always=True)


def _version(python: str) -> tuple[int, int] | None:
    """Return the version of a Python interpreter that can create environments, or None for one that cannot."""
    code = "import ensurepip, sys; print(*sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=30)
        major, minor = done.stdout.split()
    except (OSError, ValueError):
        return None
    return int(major), int(minor)


def _headers(python: str) -> bool:
    code = "import sysconfig; print(sysconfig.get_path('include'))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=30)
    return (Path(done.stdout.strip()) / "Python.h").exists()


def _pythons(headers: bool) -> list[str]:
    """Return interpreters that are new enough, the system's first, since every user can run those."""
    candidates = ["/usr/bin/python3", *(f"/usr/bin/python3.{minor}" for minor in (13, 12, 11)), sys.executable]
    return [
        python
        for python in candidates
        if (version := _version(python)) and version >= OLDEST_PYTHON and (not headers or _headers(python))
    ]


def missing(needs: Sequence[Need] = NEEDS) -> list[Need]:
    """Return the needs that this machine lacks."""
    return [need for need in needs if not need.found()]


@contextmanager
def _nothing_gets_started() -> Iterator[None]:
    """Keep Debian's packages from starting services for the time of a block, by the file POLICY, unless it exists."""
    ours = not POLICY.exists()
    if ours:
        run([*_as_root(), "sh", "-c", f"printf '#!/bin/sh\\nexit 101\\n' > {POLICY} && chmod 755 {POLICY}"])
    try:
        yield
    finally:
        if ours:
            run([*_as_root(), "rm", "-f", str(POLICY)])


def _as_root() -> list[str]:
    return [] if is_root() else ["sudo"]


def available(packages: Sequence[str]) -> str:
    """Return the first of the packages that this release of the system has; where it has none, the first of all."""
    return next(filter(_is_available, packages), packages[0])


def _is_available(package: str) -> bool:
    return "Candidate: (none)" not in (said := run(["apt-cache", "policy", package]).stdout) and "Candidate:" in said


def _install(needs: Sequence[Need]) -> None:
    apt = [*_as_root(), "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"]
    run([*apt, "update"], timeout=600)
    packages = [available(need.packages) for need in needs]
    with _nothing_gets_started():
        run([*apt, "install", "--no-install-recommends", *packages], timeout=1800)


def system_packages(progress: ProgressLine, needs: Sequence[Need] = NEEDS) -> None:
    """Install what the machine lacks, or print what to do. Raises Failure where it cannot do without."""
    lacking = missing(needs)
    if not lacking:
        return
    say("This machine lacks:")
    for need in lacking:
        say(f"  {need.packages[0]:<28} {need.why}")
    command = "apt-get install --no-install-recommends " + " ".join(need.packages[0] for need in lacking)
    if not shutil.which("apt-get"):
        _go_on_without(lacking, "This is no Debian or Ubuntu: install what these packages hold there.")
        return
    if not is_root() and not _sudo_works():
        _go_on_without(lacking, f"As root: {command}")
        return
    with progress.part("packages", "installed"):
        _install(lacking)
    still = missing(needs)
    if still:
        _go_on_without(still, f"Installing did not bring all of it; as root: {command}")


def _sudo_works() -> bool:
    """Return whether sudo can be used: at a terminal, where it may ask for a password, or where it need not ask."""
    if not shutil.which("sudo"):
        return False
    return sys.stdin.isatty() or subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0


def _go_on_without(lacking: Sequence[Need], advice: str) -> None:
    needed = [need.packages[0] for need in lacking if need.always]
    if needed:
        raise Failure("setup", f"{', '.join(needed)} must be there. {advice}")
    warn(f"{advice}\nGoing on without: hosts will be simulated.")


def environment(layout: Layout, progress: ProgressLine) -> None:
    """Make `.venv` contain exactly the packages in requirements.lock, and the project. Raises Failure."""
    stamp = layout.venv / ".gostack-setup"
    state = _fingerprint(layout)
    if stamp.exists() and stamp.read_text() == state:
        return
    owner = invoker()
    with progress.part("uv"):
        uv = _uv(layout)
    bindable = _file("/usr/include/libvirt/libvirt.h")() and _program("gcc", "pkg-config")()
    pythons = _pythons(headers=bindable) or _pythons(headers=False)
    if not pythons:
        raise Failure("setup", "Python 3.11 or newer is needed: apt-get install python3.11 python3.11-venv")
    with progress.part("environment"):
        python = layout.venv / "bin" / "python"
        if not python.exists() or (_version(str(python)) or (0, 0)) < OLDEST_PYTHON:
            run([uv, "venv", "-q", "--clear", "--python", pythons[0], str(layout.venv)], account=owner)
        requirements = layout.project / "requirements.lock"
        if not bindable:
            requirements = _without_binding(layout, requirements)
        inside = {"VIRTUAL_ENV": str(layout.venv)}
        run([uv, "pip", "sync", "-q", str(requirements)], account=owner, environment=inside, timeout=1800)
        project = ["--no-deps", "-e", str(layout.project)]
        run([uv, "pip", "install", "-q", *project], account=owner, environment=inside, timeout=600)
    stamp.write_text(state)


def _fingerprint(layout: Layout) -> str:
    """Return a digest of what the environment is made from: where it changes, the environment is made anew."""
    digest = hashlib.sha256(sysconfig.get_platform().encode())
    for path in (layout.project / "requirements.lock", layout.project / "pyproject.toml", Path(__file__)):
        digest.update(path.read_bytes())
    digest.update(b"binding" if _file("/usr/include/libvirt/libvirt.h")() else b"none")
    return digest.hexdigest()


def _uv(layout: Layout) -> str:
    """Install uv in an environment of its own, so that neither the machine nor a user's tools change."""
    home = layout.cache / f"uv-{UV}"
    uv = home / "bin" / "uv"
    if not uv.exists():
        owner = invoker()
        owner.own(layout.data, 0o755)
        owner.own(layout.cache, 0o755)
        pythons = _pythons(headers=False)
        if not pythons:
            raise Failure("setup", "Python 3.11 or newer with venv is needed: apt-get install python3-venv")
        run([pythons[0], "-m", "venv", "--clear", str(home)], account=owner)
        run([str(home / "bin" / "pip"), "install", "-q", f"uv=={UV}"], account=owner, timeout=600)
    return str(uv)


def _without_binding(layout: Layout, lock: Path) -> Path:
    """Return requirements.lock without packages that cannot be built on this machine."""
    entry = re.compile(rf"^{BUILT_FROM_SOURCE}==.*?(?=^\S)", re.MULTILINE | re.DOTALL)
    reduced = layout.cache / "requirements-without-libvirt.lock"
    reduced.write_text(entry.sub("", lock.read_text()))
    return reduced


def setup(layout: Layout, progress: ProgressLine) -> None:
    """Install what is missing, and create the project's environment. Raises Failure."""
    stamp = layout.venv / ".gostack-setup"
    if not (stamp.exists() and stamp.read_text() == _fingerprint(layout) and not _lost_something()):
        system_packages(progress)
        environment(layout, progress)


def _lost_something() -> bool:
    """Return whether a program that an earlier setup installed is missing now."""
    return not (_program("java", "mvn", "ip")() and _postgres())
