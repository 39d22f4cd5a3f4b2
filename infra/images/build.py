"""Make the guest image that tests and first tries of GoStack start: `python -m infra.images.build OUTPUT.qcow2`.

Why an image of its own: a distribution's cloud image weighs hundreds of megabytes and takes minutes to start where
there is no hardware virtualization. This one is a kernel and one program, starts in seconds in 128 MiB, and reports
on its console what a test wants to know. Neither a loop mount nor root is needed to build it.

What it is made of comes from Debian packages, in the versions that apt would install; `guest/` is laid over that, file
for file, as the guest's root file system.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from infra.images.archive import Archive
from infra.images.packages import Package, PackageUnknown, fetch, look_up, unpack

HERE = Path(__file__).parent
GUEST = HERE / "guest"
MBR = Path("/usr/lib/syslinux/mbr/mbr.bin")

# What has to be on the machine that builds, and the package that brings it.
TOOLS = {
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "mkfs.vfat": "dosfstools",
    "mcopy": "mtools",
    "syslinux": "syslinux",
    "qemu-img": "qemu-utils",
}
# Only recommended by syslinux, so an installation that keeps to dependencies goes without.
MBR_PACKAGE = "syslinux-common"

KERNEL = "linux-image-cloud-amd64"
SHELL = "busybox-static"
# The guest agent with the packages of the libraries that it links to.
AGENT = (
    "qemu-guest-agent", "libc6", "libglib2.0-0", "libnuma1", "libpcre2-8-0", "libudev1", "liburing2",
)  # fmt: skip

MODULES = (
    "button", "evdev",  # the power button, and how its press is read
    "virtio_pci", "virtio_blk", "virtio_net", "virtio_rng", "virtio_console", "virtio_balloon",
    "virtio_scsi", "ata_piix", "sd_mod", "sr_mod",  # a config drive comes as a CD-ROM; this kernel has no AHCI
    "isofs", "vfat", "nls_cp437", "nls_ascii", "nls_utf8",
)  # fmt: skip

SECTOR = 512
FIRST_SECTOR = 2048
DISK_SIZE = 64 << 20
FAT16_LBA, ACTIVE = 0x0E, 0x80
LARGEST_IMAGE = 40 << 20
TOOL_TIMEOUT = 120  # seconds


class ToolMissing(Exception):
    """A program that the build needs is not installed."""


class ImageTooLarge(Exception):
    """The image is larger than a tiny guest may be."""


def main() -> int:
    """Run the command line, and return 0 where the image is there, else 1."""
    parser = argparse.ArgumentParser(description="Make the GoStack guest image.")
    parser.add_argument("output", type=Path, metavar="OUTPUT.qcow2")
    parser.add_argument("--force", action="store_true", help="build even if nothing has changed")
    arguments = parser.parse_args()
    try:
        built = build(arguments.output, force=arguments.force)
    except (ToolMissing, PackageUnknown, ImageTooLarge) as problem:
        print(problem, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as problem:
        print(f"{problem}\n{problem.stderr or ''}".rstrip(), file=sys.stderr)
        return 1
    size = arguments.output.stat().st_size / (1 << 20)
    print(f"{arguments.output}: {size:.1f} MiB, {'built' if built else 'up to date'}")
    return 0


def build(output: Path, force: bool = False) -> bool:
    """Make the image at `output`; False if it is there and what it is made of has not changed.

    Raises ToolMissing, PackageUnknown, ImageTooLarge, and CalledProcessError when a tool fails.
    """
    _require_tools()
    output = output.absolute()
    packages = _packages()
    stamp, content = output.with_name(output.name + ".stamp"), _stamp(packages)
    if not force and output.exists() and stamp.exists() and stamp.read_text() == content:
        return False

    output.parent.mkdir(parents=True, exist_ok=True)
    cache = output.parent / "build-cache"
    with tempfile.TemporaryDirectory(dir=output.parent, prefix="build-") as name:
        work = Path(name)
        kernel, shell, agent = work / "kernel", work / "shell", work / "agent"
        for package in packages:
            into = {packages[0].name: kernel, SHELL: shell}.get(package.name, agent)
            unpack(fetch(package, cache), into)
        image = work / "image.qcow2"
        _write_disk(work, next(kernel.glob("boot/vmlinuz-*")), _initial_file_system(kernel, shell, agent), image)
        if image.stat().st_size > LARGEST_IMAGE:
            raise ImageTooLarge(f"The image has grown to {image.stat().st_size} bytes; {LARGEST_IMAGE} are allowed.")
        # The stamp last: an image without one is built again.
        stamp.unlink(missing_ok=True)
        image.replace(output)
        stamp.write_text(content)
    return True


def _require_tools() -> None:
    # mkfs.vfat and others are outside the path of an ordinary user.
    os.environ["PATH"] = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    missing = {package for tool, package in TOOLS.items() if shutil.which(tool) is None}
    if not MBR.exists():
        missing.add(MBR_PACKAGE)
    if missing:
        raise ToolMissing(f"Missing tools; install them with: apt-get install {' '.join(sorted(missing))}")


def _packages() -> list[Package]:
    """Return the packages for the image, the kernel's first. Raises PackageUnknown."""
    [meta] = look_up([KERNEL])
    concrete = next(name for name in meta.depends if name.startswith("linux-image-"))
    return look_up([concrete, SHELL, *AGENT])


def _stamp(packages: list[Package]) -> str:
    """Describe what an image is built from now: a digest of the sources, and the versions of the packages."""
    sources = hashlib.sha256()
    for path in _sources():
        sources.update(f"{path.relative_to(HERE)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    versions = {package.name: package.version for package in packages}
    return json.dumps({"sources": sources.hexdigest(), "packages": versions}, indent=2) + "\n"


def _sources() -> Iterator[Path]:
    yield from sorted(path for path in HERE.iterdir() if path.suffix in {".py", ".cfg"})
    yield from _guest_files()


def _guest_files() -> list[Path]:
    return sorted(path for path in GUEST.rglob("*") if path.is_file())


def _initial_file_system(kernel: Path, shell: Path, agent: Path) -> bytes:
    archive = Archive()
    archive.console()
    for name in ("boot-disk", "mnt", "proc", "run", "sys", "www"):
        archive.directory(name)
    archive.directory("root", 0o700)
    archive.directory("tmp", 0o1777)

    for path in _guest_files():
        data = path.read_bytes()
        # From the first bytes and not from the file's mode, which does not survive every way of copying sources.
        archive.file(str(path.relative_to(GUEST)), data, 0o755 if data.startswith(b"#!") else 0o644)

    busybox = shell / "bin/busybox"
    archive.file("bin/busybox", busybox.read_bytes(), 0o755)
    archive.link("init", "bin/busybox")
    for applet in _output(str(busybox), "--list-full").split():
        archive.link(applet, "/bin/busybox")

    modules = _modules_in_order(kernel)
    for module in modules:
        archive.file(f"lib/modules/{module.name}", module.read_bytes())
    archive.file("lib/modules/order", "".join(f"{module.stem}\n" for module in modules).encode())

    _add_guest_agent(archive, agent)
    return archive.compressed()


def _modules_in_order(kernel: Path) -> list[Path]:
    """The modules' files and those of all that they need, each after what it needs."""
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

    for name in MODULES:
        add(name)
    return list(ordered.values())


def _add_guest_agent(archive: Archive, agent: Path) -> None:
    """The agent and the libraries that its own loader finds for it among the unpacked packages."""
    program = agent / "usr/sbin/qemu-ga"
    loader = next(agent.glob("lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"))
    folders = f"{agent}/lib/x86_64-linux-gnu:{agent}/usr/lib/x86_64-linux-gnu"
    listing = _output(str(loader), "--library-path", folders, "--list", str(program))
    archive.file("usr/sbin/qemu-ga", program.read_bytes(), 0o755)
    archive.file("lib64/ld-linux-x86-64.so.2", loader.read_bytes(), 0o755)
    for library, path in re.findall(r"(\S+) => (\S+) \(", listing):
        archive.file(f"lib/x86_64-linux-gnu/{library}", Path(path).read_bytes(), 0o755)


def _write_disk(work: Path, kernel: Path, initial: bytes, image: Path) -> None:
    """A disk with one FAT partition that starts the kernel, as a compressed qcow2 file."""
    raw, initrd = work / "disk.raw", work / "initrd.gz"
    initrd.write_bytes(initial)
    with raw.open("wb") as disk:
        disk.write(_boot_record())
        disk.truncate(DISK_SIZE)
    offset = FIRST_SECTOR * SECTOR
    blocks = (DISK_SIZE - offset) // 1024
    _output("mkfs.vfat", "-F", "16", "-n", "GOSTACK", "--offset", str(FIRST_SECTOR), str(raw), str(blocks))
    for source, name in ((kernel, "vmlinuz"), (initrd, "initrd.gz"), (HERE / "syslinux.cfg", "syslinux.cfg")):
        _output("mcopy", "-i", f"{raw}@@{offset}", str(source), f"::{name}")
    _output("syslinux", "--install", "--offset", str(offset), str(raw))
    _output("qemu-img", "convert", "-c", "-O", "qcow2", str(raw), str(image))


def _boot_record() -> bytes:
    """The first sector: the program that starts the active partition, and a table of one partition."""
    # The three-byte addresses by cylinder, head and sector are out of range, which says to go by sector numbers.
    nowhere = b"\xfe\xff\xff"
    sectors = DISK_SIZE // SECTOR - FIRST_SECTOR
    partition = struct.pack("<B3sB3sII", ACTIVE, nowhere, FAT16_LBA, nowhere, FIRST_SECTOR, sectors)
    return MBR.read_bytes()[:440].ljust(446, b"\0") + partition.ljust(64, b"\0") + b"\x55\xaa"


def _output(*command: str) -> str:
    """Run a tool, and return its standard output. Raises CalledProcessError."""
    # mtools refuses a partition whose geometry does not match the disk's, which says nothing about a file.
    environment = {**os.environ, "MTOOLS_SKIP_CHECK": "1", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_TIMEOUT, check=True, env=environment)
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
