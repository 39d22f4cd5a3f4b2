"""The size of a disk that is a file."""

from pathlib import Path

from agent.drivers import host_command
from infra.disks import qemu_img
from infra.disks.qcow2 import read_header


def grow(path: Path, size: int) -> None:
    """Have the disk in a qcow2 file, which nothing has open, be `size` bytes large; one that is as large stays.

    Raises OSError, and DriverError "host-command-failed".
    """
    header = read_header(path)
    if header is None or header.virtual_size < size:
        host_command.run(*qemu_img.command("resize", "qcow2", "-q", str(path), str(size)))
