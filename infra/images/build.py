"""Make the guest image that tests and first tries of GoStack start: `python -m infra.images.build OUTPUT.qcow2`.

Why an image of its own: a distribution's cloud image weighs hundreds of megabytes and takes minutes to start where
there is no hardware virtualization. This one is a kernel and one program, starts in seconds in 128 MiB, and reports
on its console what a test wants to know. Neither a loop mount nor root is needed to build it.

What it is made of comes from Debian packages, in the versions that apt would install; `guest/` is laid over that, file
for file, as the guest's root file system.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

from infra.disks import qemu_img
from infra.images import disk
from infra.images.archive import Archive
from infra.images.disk import ToolMissing
from infra.images.packages import Package, PackageUnknown, fetch, look_up, unpack

HERE = Path(__file__).parent
GUEST = HERE / "guest"

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

DISK_SIZE = 64 << 20
LARGEST_IMAGE = 40 << 20


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
    disk.require(disk.TOOLS)
    output = output.absolute()
    packages = _packages()

    def make(work: Path) -> Path:
        kernel, shell, agent = work / "kernel", work / "shell", work / "agent"
        for package in packages:
            into = {packages[0].name: kernel, SHELL: shell}.get(package.name, agent)
            unpack(fetch(package, output.parent / "build-cache"), into)
        image = work / "image.qcow2"
        _write_disk(work, next(kernel.glob("boot/vmlinuz-*")), _initial_file_system(kernel, shell, agent), image)
        if image.stat().st_size > LARGEST_IMAGE:
            raise ImageTooLarge(f"The image has grown to {image.stat().st_size} bytes; {LARGEST_IMAGE} are allowed.")
        return image

    return disk.build_unless_same(output, disk.stamp(_sources(), packages), force, make)


def _packages() -> list[Package]:
    """Return the packages for the image, the kernel's first. Raises PackageUnknown."""
    [meta] = look_up([KERNEL])
    concrete = next(name for name in meta.depends if name.startswith("linux-image-"))
    return look_up([concrete, SHELL, *AGENT])


def _sources() -> list[Path]:
    """The files that decide what is in the image."""
    return [*(HERE / name for name in ("archive.py", "build.py", "disk.py", "syslinux.cfg")), *_guest_files()]


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
    for applet in disk.output(str(busybox), "--list-full").split():
        archive.link(applet, "/bin/busybox")

    modules = disk.modules_in_order(kernel, MODULES)
    for module in modules:
        archive.file(f"lib/modules/{module.name}", module.read_bytes())
    archive.file("lib/modules/order", "".join(f"{module.stem}\n" for module in modules).encode())

    _add_guest_agent(archive, agent)
    return archive.compressed()


def _add_guest_agent(archive: Archive, agent: Path) -> None:
    """The agent and the libraries that its own loader finds for it among the unpacked packages."""
    program = agent / "usr/sbin/qemu-ga"
    loader = next(agent.glob("lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"))
    folders = f"{agent}/lib/x86_64-linux-gnu:{agent}/usr/lib/x86_64-linux-gnu"
    listing = disk.output(str(loader), "--library-path", folders, "--list", str(program))
    archive.file("usr/sbin/qemu-ga", program.read_bytes(), 0o755)
    archive.file("lib64/ld-linux-x86-64.so.2", loader.read_bytes(), 0o755)
    for library, path in re.findall(r"(\S+) => (\S+) \(", listing):
        archive.file(f"lib/x86_64-linux-gnu/{library}", Path(path).read_bytes(), 0o755)


def _write_disk(work: Path, kernel: Path, initial: bytes, image: Path) -> None:
    """A disk with one FAT partition that starts the kernel, as a compressed qcow2 file."""
    raw, initrd = work / "disk.raw", work / "initrd.gz"
    initrd.write_bytes(initial)
    table = disk.partitions([(disk.FAT16_LBA, DISK_SIZE - disk.FIRST_SECTOR * disk.SECTOR)])
    disk.make(raw, table, {"vmlinuz": kernel, "initrd.gz": initrd, "syslinux.cfg": HERE / "syslinux.cfg"})
    convert = ("-c", "-O", "qcow2", str(raw), str(image))
    disk.output(*qemu_img.command("convert", "raw", *convert, limits=qemu_img.COPY))


if __name__ == "__main__":
    sys.exit(main())
