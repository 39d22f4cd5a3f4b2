"""Where a host keeps what belongs to an instance.

Why names in one place: three parties read them (the driver, the hypervisor, the metadata service), and an instance is
gone when its directory is.

Files are for the agent's user alone (its umask is set in agent/compose.py), and libvirt hands a guest's disks to the
user that runs guests for as long as the guest runs.
"""

import os
import shutil
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from infra.disks.qcow2 import backing_file


@dataclass(frozen=True)
class InstanceFiles:
    """The files of one instance."""

    directory: Path

    @property
    def disk(self) -> Path:
        """The root disk, an overlay."""
        return self.directory / "disk.qcow2"

    @property
    def old_disk(self) -> Path:
        """The root disk before, until the one that replaces it is known to do."""
        return self.directory / "disk.old.qcow2"

    @property
    def copied_disk(self) -> Path:
        """The copy of the root disk that is being made, to be in its place."""
        return self.directory / "disk.copy.qcow2"

    @property
    def rescue_disk(self) -> Path:
        """The disk that the guest boots from while it is rescued, an overlay."""
        return self.directory / "rescue.qcow2"

    @property
    def config_drive(self) -> Path:
        """The ISO image that tells the guest who it is."""
        return self.directory / "config.iso"

    @property
    def console(self) -> Path:
        """The file with all that the guest wrote on its serial console."""
        return self.directory / "console.log"

    @property
    def told(self) -> Path:
        """Directory with the documents that the metadata service gives."""
        return self.directory / "metadata"

    def make(self) -> None:
        """Make the directory of the instance."""
        _make_passable(self.directory)


@dataclass(frozen=True)
class HostFiles:
    """The files of a host: instances, volumes and cached images."""

    state: Path

    @property
    def cache(self) -> Path:
        """Directory of cached images, each named by its SHA-256."""
        return self.state / "cache"

    @property
    def _instances(self) -> Path:
        return self.state / "instances"

    @property
    def volumes(self) -> Path:
        """Directory of volumes on the host's own disk."""
        return self.state / "volumes"

    def instance(self, instance_id: str) -> InstanceFiles:
        """The files of an instance. Raises ValueError for an id that is no UUID: it becomes part of a path."""
        return InstanceFiles(self._instances / str(uuid.UUID(instance_id)))

    def make(self) -> None:
        """Make the host's directories where they are missing."""
        if not self.state.exists():
            _make_passable(self.state)
        for directory in (self.cache, self._instances, self.volumes):
            _make_passable(directory)
        # Earlier releases let everybody read disks.
        for disk in (*self._instances.glob("*/*.qcow2"), *self.volumes.glob("*.qcow2")):
            with suppress(FileNotFoundError):
                disk.chmod(0o600)

    def based_on(self) -> set[str]:
        """Return the names of the files that any disk of this host has as its backing file. Raises OSError."""
        found = set()
        for directory, _, names in os.walk(self.state):
            if Path(directory) == self.cache:
                continue
            for name in names:
                # A file that is removed meanwhile is a disk no more.
                with suppress(FileNotFoundError):
                    path = Path(directory) / name
                    if path.is_file() and (below := backing_file(path)):
                        found.add(Path(below).name)
        return found

    def remove(self, instance_id: str) -> None:
        """Remove all of an instance."""
        directory = self.instance(instance_id).directory
        if directory.exists():
            shutil.rmtree(directory)


def _make_passable(directory: Path) -> None:
    """Make a directory that others may pass through, and not list: the hypervisor runs guests as a user of its own."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o711)
