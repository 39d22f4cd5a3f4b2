"""An instance's root disk: an overlay that holds what the instance changed of its image.

Why made beside and renamed: a disk that is there is complete, so a job that is done again leaves the guest's data
alone.
"""

import json
from pathlib import Path

from agent.drivers import host_command
from agent.drivers.driver import DriverError, DriverFault
from domain.guest_spec import ImageRef
from infra.disks import qemu_img
from infra.disks.qcow2 import read_header


def create(disk: Path, image: ImageRef, cached: Path, size: int) -> None:
    """Make the overlay, `size` bytes large; 0 takes the image's size.

    Raises DriverError "image-unavailable", "disk-too-small", "disk-differs", "host-command-failed".
    """
    if not cached.exists():
        raise DriverError(DriverFault.IMAGE_UNAVAILABLE, f"image {image.name!r} is not on this host")
    if disk.exists():
        _require_overlay_of(cached, disk)
        return
    needed = virtual_size(image, cached)
    if size and size < needed:
        raise DriverError(DriverFault.DISK_TOO_SMALL, f"image {image.name!r} needs {needed} bytes, the disk has {size}")
    fresh = disk.with_suffix(".new")
    below = ("-F", image.format, "-b", str(cached))
    host_command.run(*qemu_img.command("create", "qcow2", "-q", *below, str(fresh), str(size or needed)))
    fresh.replace(disk)


def virtual_size(image: ImageRef, cached: Path) -> int:
    """Bytes that a disk of this image has at least, by the file itself."""
    header = read_header(cached) if image.format == "qcow2" else None
    return header.virtual_size if header else cached.stat().st_size


def _require_overlay_of(cached: Path, disk: Path) -> None:
    printed = host_command.run(*qemu_img.command("info", "qcow2", "-U", "--output=json", str(disk)))
    backing = json.loads(printed or "{}").get("backing-filename", "")
    if backing != str(cached):
        inside = f"{disk} is on {backing or 'no image'}"
        raise DriverError(DriverFault.DISK_DIFFERS, "the instance has a disk already, of another image", inside)
