"""The common part of the guest images: a disk whose first partition starts a kernel, and the tools that make one.

Why a FAT partition and syslinux: files get into it, and the boot loader onto it, without a loop mount and without root.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.images.packages import Package

MBR = Path("/usr/lib/syslinux/mbr/mbr.bin")
MBR_PACKAGE = "syslinux-common"
"""Only recommended by syslinux, so an installation that keeps to dependencies goes without."""
TOOLS = {
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "mkfs.vfat": "dosfstools",
    "mcopy": "mtools",
    "syslinux": "syslinux",
    "qemu-img": "qemu-utils",
}
"""Program that has to be on the machine that builds -> the package that brings it."""

SECTOR = 512
FIRST_SECTOR = 2048
FAT16_LBA, LINUX, ACTIVE = 0x0E, 0x83, 0x80
TOOL_TIMEOUT = 300
"""Seconds that one call of a tool may take."""


class ToolMissing(Exception):
    """A program that the build needs is not installed, or only root can build the image."""


@dataclass(frozen=True)
class Partition:
    """A partition of a disk. `start` and `sectors` count sectors of 512 bytes."""

    kind: int
    start: int
    sectors: int

    @property
    def offset(self) -> int:
        """Bytes before the partition."""
        return self.start * SECTOR

    @property
    def size(self) -> int:
        """Bytes of the partition."""
        return self.sectors * SECTOR


def require(tools: Mapping[str, str]) -> None:
    """Have the tools in the path. Raises ToolMissing, which says what to install."""
    # mkfs.vfat and others are outside the path of an ordinary user.
    os.environ["PATH"] = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    missing = {package for tool, package in tools.items() if shutil.which(tool) is None}
    if not MBR.exists():
        missing.add(MBR_PACKAGE)
    if missing:
        raise ToolMissing(f"Missing tools; install them with: apt-get install {' '.join(sorted(missing))}")


def stamp(sources: Iterable[Path], packages: Iterable[Package]) -> str:
    """Describe what an image is built from now: a digest of the sources, and the versions of the packages."""
    digest = hashlib.sha256()
    for path in sorted(sources):
        digest.update(f"{path.parent.name}/{path.name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    versions = {package.name: package.version for package in packages}
    return json.dumps({"sources": digest.hexdigest(), "packages": versions}, indent=2) + "\n"


def build_unless_same(output: Path, content: str, force: bool, build: Callable[[Path], Path]) -> bool:
    """Have an image at `output`; False if it is there and `content`, its stamp, has not changed.

    `build`: makes it in a directory that is removed afterwards, and returns its file. Who comes meanwhile waits.
    """
    beside = output.with_name(f"{output.name}.stamp")
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.with_name(f"{output.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not force and output.exists() and beside.exists() and beside.read_text() == content:
            return False
        with tempfile.TemporaryDirectory(dir=output.parent, prefix="build-") as work:
            image = build(Path(work))
            # The stamp last: an image without one is built again.
            beside.unlink(missing_ok=True)
            image.replace(output)
            beside.write_text(content)
    return True


def partitions(sizes: Sequence[tuple[int, int]]) -> list[Partition]:
    """Lay partitions out one after the other. `sizes`: kind and bytes of each."""
    start, found = FIRST_SECTOR, []
    for kind, size in sizes:
        found.append(Partition(kind, start, size // SECTOR))
        start += size // SECTOR
    return found


def make(raw: Path, table: Sequence[Partition], files: Mapping[str, Path]) -> None:
    """Make a disk that starts the kernel on its first partition, which has these files, one of them `syslinux.cfg`.

    Raises CalledProcessError.
    """
    with raw.open("wb") as disk:
        disk.write(_boot_record(table))
        disk.truncate(table[-1].offset + table[-1].size)
    first = table[0]
    output("mkfs.vfat", "-F", "16", "-n", "BOOT", "--offset", str(first.start), str(raw), str(first.size // 1024))
    for name, source in files.items():
        output("mcopy", "-i", f"{raw}@@{first.offset}", str(source), f"::{name}")
    output("syslinux", "--install", "--offset", str(first.offset), str(raw))


def modules_in_order(kernel: Path, names: Collection[str]) -> list[Path]:
    """Find the modules' files and those of all that they need below an unpacked kernel, each after what it needs."""
    # The kernel takes - and _ in a module's name for the same.
    files = {path.stem.replace("-", "_"): path for path in kernel.glob("lib/modules/**/*.ko")}
    ordered: dict[str, Path] = {}

    def add(name: str) -> None:
        if name in ordered:
            return
        found = re.search(rb"\0depends=([^\0]*)\0", files[name].read_bytes())
        for needed in found[1].decode().replace("-", "_").split(",") if found and found[1] else ():
            add(needed)
        ordered[name] = files[name]

    for name in names:
        add(name)
    return list(ordered.values())


def output(*command: str) -> str:
    """Run a tool, and return its standard output. Raises CalledProcessError."""
    # mtools refuses a partition whose geometry does not match the disk's, which says nothing about a file.
    environment = {**os.environ, "MTOOLS_SKIP_CHECK": "1", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_TIMEOUT, check=True, env=environment)
    return done.stdout


def _boot_record(table: Sequence[Partition]) -> bytes:
    """The first sector: the program that starts the active partition, and the table of partitions."""
    # The three-byte addresses by cylinder, head and sector are out of range, which says to go by sector numbers.
    nowhere = b"\xfe\xff\xff"
    entries = b"".join(
        struct.pack("<B3sB3sII", 0 if number else ACTIVE, nowhere, each.kind, nowhere, each.start, each.sectors)
        for number, each in enumerate(table)
    )
    return MBR.read_bytes()[:440].ljust(446, b"\0") + entries.ljust(64, b"\0") + b"\x55\xaa"
