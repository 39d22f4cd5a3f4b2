"""Jobs for a volume's file on its host's disk."""

from domain.tasks.job import HostJob


class CreateVolumeFile(HostJob):
    """Make the volume's file, empty; one that is there keeps what is on it."""

    volume_id: str
    size: int
    """Size of the file, in bytes."""


class DeleteVolumeFile(HostJob):
    """Remove the volume's file; one that is not there is success."""

    attempts = 5

    volume_id: str
