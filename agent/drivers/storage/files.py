"""Volumes that are files: on the host's own disk, or in a directory that several hosts share.

Why qcow2: a file takes what was written and no more, and can hold what snapshots and incremental backups need. Files
are root's, and libvirt gives one to the user that runs a guest for as long as the guest has it.

Why a pool's directory is looked at before every use: where a file system is not mounted, its directory is there all the
same, and what would be written into it lies on the host's own disk, where no other host finds it.
"""

import os
import uuid
from pathlib import Path
from xml.etree import ElementTree as ET

from agent.drivers import host_command, whole_file
from agent.drivers.driver import DriverError, DriverFault
from agent.drivers.storage.disk_size import grow
from agent.drivers.storage.store import DiskSource, QemuDisk, of_another_size
from domain.jobs.pool import PoolPlace, PoolSight, PoolSpace
from infra.disks import qemu_img
from infra.disks.qcow2 import read_header
from infra.process import failpoints

MARK = ".gostack-pool"
"""Name of the file that has the pool's id."""
SUFFIX = ".qcow2"


class FileVolumes:
    """Volumes in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def file(self, volume_id: str) -> Path:
        """Return the file of a volume. Raises ValueError for an id that is no UUID: it becomes part of a path."""
        return self._directory / f"{uuid.UUID(volume_id)}{SUFFIX}"

    def create(self, volume_id: str, size: int) -> None:
        """Make the file beside its place, and put it there when it is whole."""
        if self._has(volume_id, size):
            return
        fresh = self._fresh(volume_id)
        host_command.run(*qemu_img.command("create", "qcow2", "-q", str(fresh), str(size)))
        failpoints.point("libvirt-volume-made")
        fresh.replace(self.file(volume_id))

    def size(self, volume_id: str) -> int | None:
        """Return the size that a guest sees, by the file's header."""
        file = self.file(volume_id)
        header = read_header(file) if file.exists() else None
        return header.virtual_size if header is not None else None

    def extend(self, volume_id: str, size: int) -> None:
        """Have qemu-img write another size into the file."""
        grow(self.file(volume_id), size)

    def delete(self, volume_id: str) -> None:
        """Remove the file, and one that is half made."""
        self.drop_copy(volume_id)
        self.file(volume_id).unlink(missing_ok=True)

    def content(self, volume_id: str) -> QemuDisk | None:
        """Return the file of the volume."""
        size = self.size(volume_id)
        return QemuDisk(str(self.file(volume_id)), "qcow2", size) if size is not None else None

    def begin_copy(self, volume_id: str, size: int) -> QemuDisk | None:
        """Return a file beside the volume's place."""
        if self._has(volume_id, size):
            return None
        # A file of its own: what a process before this one has begun may still write to the one that it made.
        self.drop_copy(volume_id)
        return QemuDisk(str(self._fresh(volume_id)), "qcow2", 0)

    def finish_copy(self, volume_id: str, size: int) -> None:
        """Write another size into the file, and put it in its place."""
        fresh = self._fresh(volume_id)
        grow(fresh, size)
        whole_file.sync(fresh)
        failpoints.point("libvirt-volume-copied")
        fresh.replace(self.file(volume_id))

    def drop_copy(self, volume_id: str) -> None:
        """Remove the file beside the volume's place."""
        self._fresh(volume_id).unlink(missing_ok=True)

    def disk(self, volume_id: str) -> DiskSource:
        """Return the file's path."""
        return DiskSource("file", ET.Element("source", {"file": str(self.file(volume_id))}), {"type": "qcow2"})

    def _has(self, volume_id: str, size: int) -> bool:
        """Return whether the volume is there. Raises DriverError "volume-differs" for one of another size."""
        if not self.file(volume_id).exists():
            return False
        if self.size(volume_id) != size:
            raise of_another_size(volume_id)
        return True

    def _fresh(self, volume_id: str) -> Path:
        """Return the file that is to be the volume's once it is whole."""
        return self.file(volume_id).with_suffix(".new")

    def volumes(self) -> list[str]:
        """Return the names of the files."""
        return sorted(each.stem for each in self._directory.glob(f"*{SUFFIX}"))


class FilePool(FileVolumes):
    """A directory that several hosts share, with the pool's id in it."""

    def __init__(self, place: PoolPlace) -> None:
        super().__init__(Path(place.path) / "volumes")
        self._place = place

    def file(self, volume_id: str) -> Path:
        """Return the file of a volume. Raises DriverError "pool-not-reached"."""
        self.expect_reached()
        return super().file(volume_id)

    def volumes(self) -> list[str]:
        """Return the names of the files. Raises DriverError "pool-not-reached"."""
        self.expect_reached()
        return super().volumes()

    def expect_reached(self) -> None:
        """Look for the mark. Raises DriverError "pool-not-reached"."""
        sight = self._sight()
        if sight is not PoolSight.REACHED:
            message = f"this host does not reach pool {self._place.name}: {sight}"
            raise DriverError(DriverFault.POOL_NOT_REACHED, message, self._place.path)

    def look(self, founds: bool) -> PoolSpace:
        """Look for the directory and the mark in it, and how much space its file system has."""
        sight = self._sight()
        if sight is PoolSight.NOT_MARKED and founds:
            sight = self._mark()
        if sight is not PoolSight.REACHED:
            return PoolSpace(sight=sight)
        try:
            size = os.statvfs(self._place.path)
        except OSError:
            return PoolSpace(sight=PoolSight.NO_ANSWER)
        return PoolSpace(sight=sight, capacity=size.f_blocks * size.f_frsize, available=size.f_bavail * size.f_frsize)

    def _sight(self) -> PoolSight:
        path = Path(self._place.path)
        try:
            marked = (path / MARK).read_text().strip()
        except (FileNotFoundError, NotADirectoryError):
            return PoolSight.NOT_MARKED if path.is_dir() else PoolSight.NOT_THERE
        except (OSError, UnicodeDecodeError):
            return PoolSight.NO_ANSWER
        return PoolSight.REACHED if marked == self._place.id else PoolSight.OF_ANOTHER

    def _mark(self) -> PoolSight:
        """Write the pool's id into its directory, and make the directory for volumes; return what is there then."""
        try:
            self._directory.mkdir(mode=0o711, exist_ok=True)
            self._directory.chmod(0o711)
            # Whoever comes first; there is one founder, but a directory may be two pools' by mistake.
            _put_new(Path(self._place.path) / MARK, self._place.id)
        except FileExistsError:
            return self._sight()
        except OSError:
            return PoolSight.NOT_MARKED
        return PoolSight.REACHED


def _put_new(path: Path, text: str) -> None:
    """Put a file there whole, where none is. Raises FileExistsError, OSError."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with fresh.open("w") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
