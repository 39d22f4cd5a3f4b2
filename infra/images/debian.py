"""Make a Debian guest image with the real cloud-init: `python -m infra.images.debian OUTPUT.qcow2`, as root.

Why beside the tiny one: what a guest is told has to be understood by what cloud images have, and not only by a program
that was written for it. Debian's own cloud image takes a download of hundreds of megabytes and two minutes to start
where there is no hardware virtualization. This one is made of the same packages with less of what takes time: its own
initial file system, few of cloud-init's modules, no timers.

`debian_guest/etc` is laid over the guest's own.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from infra.disks import qemu_img
from infra.images import disk
from infra.images.archive import Archive
from infra.images.build import KERNEL, SHELL
from infra.images.disk import ToolMissing
from infra.images.packages import PackageUnknown, fetch, look_up, release, sources, unpack

HERE = Path(__file__).parent
GUEST = HERE / "debian_guest"
TOOLS = {**disk.TOOLS, "mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs"}
PACKAGES = (
    "systemd-sysv", "dbus", "udev", "kmod", "netbase", "iproute2", "ifupdown", "isc-dhcp-client",
    "cloud-init", "cloud-guest-utils", "e2fsprogs", "fdisk", "openssh-server", "sudo", "login", "passwd", "procps",
)  # fmt: skip
MODULES = (
    "button", "evdev", "virtio_pci", "virtio_blk", "virtio_net", "virtio_rng", "virtio_console", "virtio_balloon",
    "virtio_scsi", "sd_mod", "sr_mod", "isofs", "autofs4",
)  # fmt: skip
APPLETS = ("sh", "insmod", "mount", "sleep", "switch_root")
UNUSED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer",
    "e2scrub_reap.service", "getty@tty1.service", "systemd-binfmt.service", "systemd-pstore.service",
    "proc-sys-fs-binfmt_misc.automount", "dev-hugepages.mount", "dev-mqueue.mount",
    "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
    "modprobe@configfs.service", "modprobe@drm.service", "modprobe@efi_pstore.service", "modprobe@fuse.service",
)  # fmt: skip
"""Units that do nothing for a guest that lives for a minute, and take time of its start."""
LEFT_OUT = ("usr/share/man", "usr/share/doc", "usr/share/locale", "usr/share/info")
MEMORY, ROOM = Path("/dev/shm"), 2 << 30
BOOT_SIZE, ROOT_SIZE = 32 << 20, 640 << 20
DEBIAN_TIMEOUT = 1800
"""Seconds that fetching and installing the packages may take."""


def main() -> int:
    """Run the command line, and return 0 where the image is there, else 1."""
    parser = argparse.ArgumentParser(description="Make the Debian guest image.")
    parser.add_argument("output", type=Path, metavar="OUTPUT.qcow2")
    parser.add_argument("--force", action="store_true", help="build even if nothing has changed")
    arguments = parser.parse_args()
    try:
        built = build(arguments.output, force=arguments.force)
    except (ToolMissing, PackageUnknown) as problem:
        print(problem, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as problem:
        print(f"{problem}\n{problem.stderr or ''}".rstrip(), file=sys.stderr)
        return 1
    print(f"{arguments.output}: {'built' if built else 'up to date'}")
    return 0


def build(output: Path, force: bool = False) -> bool:
    """Make the image at `output`; False if it is there and what it is made of has not changed.

    Raises ToolMissing, PackageUnknown, and CalledProcessError when a tool fails.
    """
    disk.require(TOOLS)
    if os.geteuid() != 0:
        raise ToolMissing("Only root can make the Debian image: its files belong to several users.")
    output = output.absolute()
    [meta] = look_up([KERNEL])
    kernel, shell, *others = look_up([next(name for name in meta.depends if "linux-image" in name), SHELL, *PACKAGES])
    parts = [*(HERE / name for name in ("archive.py", "debian.py", "disk.py", "packages.py")), *_files(GUEST)]

    def make(work: Path) -> Path:
        for package, into in ((kernel, work / "kernel"), (shell, work / "shell")):
            unpack(fetch(package, output.parent / "build-cache"), into)
        with tempfile.TemporaryDirectory(dir=_quick_place(work), prefix="gostack-debian-") as place:
            root = Path(place) / "root"
            _install(root)
            _settle(root)
            return _write_disk(work, root)

    return disk.build_unless_same(output, disk.stamp(parts, [kernel, shell, *others]), force, make)


def _quick_place(otherwise: Path) -> Path:
    """Return a directory in memory where there is room, since packages write thousands of files twice."""
    return MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM else otherwise


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def _install(root: Path) -> None:
    """Have the packages installed in a directory. Raises CalledProcessError."""
    # What is made here is of use only once all of it is there. What no guest needs is removed afterwards: to have
    # mmdebstrap leave it out takes ten seconds.
    options = ["--dpkgopt=force-unsafe-io", "--aptopt=APT::Sandbox::User root", '--aptopt=Acquire::Languages "none"']
    command = [
        "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--format=directory", *options,
        f"--include={','.join(PACKAGES)}", release(), str(root), *map(str, sources()),
    ]  # fmt: skip
    # The caller's umask is an agent's in tests.
    subprocess.run(
        command, check=True, timeout=DEBIAN_TIMEOUT, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        umask=0o022,
    )  # fmt: skip


def _settle(root: Path) -> None:
    """Make the directory what a guest starts with that nobody has named yet."""
    for path in _files(GUEST / "etc"):
        there = root / path.relative_to(GUEST)
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, there)
        there.chmod(0o644)
    for unit in UNUSED:
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    for left_out in LEFT_OUT:
        shutil.rmtree(root / left_out, ignore_errors=True)
    (root / "etc/machine-id").write_text("")
    for pattern in ("etc/ssh/ssh_host_*", "etc/resolv.conf"):
        for path in root.glob(pattern):
            path.unlink()


def _write_disk(work: Path, root: Path) -> Path:
    """Make a disk of the directory: a partition that starts the kernel, and the root file system."""
    raw, image, initrd = work / "disk.raw", work / "image.qcow2", work / "initrd.gz"
    initrd.write_bytes(_initial_file_system(work / "kernel", work / "shell"))
    table = disk.partitions([(disk.FAT16_LBA, BOOT_SIZE), (disk.LINUX, ROOT_SIZE)])
    kernel = next((work / "kernel").glob("boot/vmlinuz-*"))
    disk.make(raw, table, {"vmlinuz": kernel, "initrd.gz": initrd, "syslinux.cfg": GUEST / "syslinux.cfg"})
    options = f"offset={table[1].offset},root_owner=0:0,lazy_itable_init=1"
    disk.output("mke2fs", "-q", "-t", "ext4", "-E", options, "-d", str(root), str(raw), f"{ROOT_SIZE >> 10}k")
    convert = ("-c", "-W", "-o", "compression_type=zstd", "-O", "qcow2", str(raw), str(image))
    disk.output(*qemu_img.command("convert", "raw", *convert, limits=qemu_img.COPY))
    image.chmod(0o644)
    return image


def _initial_file_system(kernel: Path, shell: Path) -> bytes:
    archive = Archive()
    archive.console()
    for name in ("dev", "proc", "root", "sys"):
        archive.directory(name)
    archive.file("init", (GUEST / "init").read_bytes(), 0o755)
    archive.file("bin/busybox", (shell / "bin/busybox").read_bytes(), 0o755)
    for applet in APPLETS:
        archive.link(f"bin/{applet}", "busybox")
    modules = disk.modules_in_order(kernel, MODULES)
    for module in modules:
        archive.file(f"lib/modules/{module.name}", module.read_bytes())
    archive.file("lib/modules/order", "".join(f"{module.stem}\n" for module in modules).encode())
    return archive.compressed()


if __name__ == "__main__":
    sys.exit(main())
