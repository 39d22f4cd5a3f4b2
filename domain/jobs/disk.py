"""Jobs for images and for an instance's files on its host's disk."""

from domain.guest_spec import ImageRef
from domain.tasks.job import HostJob


class PrepareImage(HostJob):
    """Have the image in the host's cache, its checksum verified."""

    deadline = 600.0

    image: ImageRef | None = None
    """Image to prepare; None: the instance's own."""


class CreateDisk(HostJob):
    """Make the root disk: an overlay on the cached image."""


class UnpackDisk(HostJob):
    """Make the root disk of an image that was made of a root disk: an overlay on the instance's own image, as that disk
    was. One that is there stays."""

    deadline = 600.0
    abortable = True

    image: ImageRef


class DeleteDisk(HostJob):
    """Remove the instance's directory: disks, config drive, console log."""

    attempts = 5


class ReplaceDisk(HostJob):
    """Put the root disk aside and make a new one of another image: an overlay on the cached image."""

    image: ImageRef


class RestoreDisk(HostJob):
    """Put the root disk that was put aside back in its place; where there is none, nothing was replaced."""

    attempts = 5


class DropOldDisk(HostJob):
    """Remove the root disk that was put aside."""

    attempts = 5


class KeepDisk(HostJob):
    """Put the root disk aside as it is, and have a copy in its place; one that was put aside stays there."""

    deadline = 600.0
    abortable = True


class GrowDisk(HostJob):
    """Make the root disk larger; one that is as large is success, and none ever shrinks."""

    size: int
    """Size of the root disk afterwards, in bytes."""


class CreateRescueDisk(HostJob):
    """Make the disk that the guest boots from while it is rescued, anew each time: an overlay on the cached image."""

    image: ImageRef


class DeleteRescueDisk(HostJob):
    """Remove the disk that the guest booted from while it was rescued."""

    attempts = 5


class WriteConfigDrive(HostJob):
    """Write what the guest is told about itself, its name, keys, metadata and network: for the metadata service, and on
    the config drive of a guest that has one."""
