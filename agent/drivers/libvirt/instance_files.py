"""Where a host keeps what belongs to an instance.

Why names in one place: three parties read them (the driver, the hypervisor, the metadata service), and an instance is
gone when its directory is.
"""

import ipaddress
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path


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
        """Make the directory. Others may pass through it: the hypervisor runs guests as a user of its own."""
        self.directory.mkdir(mode=0o711, parents=True, exist_ok=True)


@dataclass(frozen=True)
class HostFiles:
    """The files of a host: instances, cached images, and whose each address is."""

    state: Path

    @property
    def cache(self) -> Path:
        """Directory of cached images, each named by its SHA-256."""
        return self.state / "cache"

    @property
    def _addresses(self) -> Path:
        return self.state / "addresses"

    def instance(self, instance_id: str) -> InstanceFiles:
        """The files of an instance. Raises ValueError for an id that is no UUID: it becomes part of a path."""
        return InstanceFiles(self.state / "instances" / str(uuid.UUID(instance_id)))

    def volume(self, volume_id: str) -> Path:
        """The file of a volume. Raises ValueError for an id that is no UUID: it becomes part of a path."""
        return self.state / "volumes" / f"{uuid.UUID(volume_id)}.qcow2"

    def make(self) -> None:
        """Make the host's directories where they are missing."""
        self.state.mkdir(mode=0o755, parents=True, exist_ok=True)
        for directory in (self.cache, self.state / "instances"):
            directory.mkdir(mode=0o711, exist_ok=True)
        self._addresses.mkdir(mode=0o700, exist_ok=True)

    def remove(self, instance_id: str) -> None:
        """Remove all of an instance."""
        directory = self.instance(instance_id).directory
        if directory.exists():
            shutil.rmtree(directory)

    def give_address(self, ip: str, instance_id: str) -> None:
        """Note whose an address is on this host."""
        path = self._addresses / str(ipaddress.IPv4Address(ip))
        fresh = path.with_suffix(".new")
        fresh.write_text(instance_id)
        fresh.replace(path)

    def take_address(self, ip: str, instance_id: str) -> None:
        """Forget it, unless it is another's by now."""
        if self.owner(ip) == instance_id:
            (self._addresses / str(ipaddress.IPv4Address(ip))).unlink(missing_ok=True)

    def owner(self, ip: str) -> str:
        """The instance that has the address on this host; empty where none has. Raises ValueError for no address."""
        try:
            return (self._addresses / str(ipaddress.IPv4Address(ip))).read_text()
        except FileNotFoundError:
            return ""
