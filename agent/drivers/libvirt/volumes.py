"""Volumes: files on the host's disk that guests have as disks besides their root disk.

Why qcow2: a file takes what was written and no more, and can hold what snapshots and incremental backups need. Files
are root's, and libvirt gives one to the user that runs a guest for as long as the guest has it.
"""

from agent.drivers import host_command
from agent.drivers.driver import DriverError, DriverFault
from agent.drivers.libvirt.host import LibvirtHost
from agent.drivers.libvirt.qcow2 import read_header
from infra.process import failpoints


class LibvirtVolumes(LibvirtHost):
    """Adds volumes to a host."""

    async def create_volume(self, volume_id: str, size: int) -> None:
        """Make the file beside its place, and put it there when it is whole."""
        file = self._files.volume(volume_id)

        def work() -> None:
            if file.exists():
                header = read_header(file)
                if header is None or header.virtual_size != size:
                    raise DriverError(DriverFault.VOLUME_DIFFERS, f"{file} is there already, of another size")
                return
            file.parent.mkdir(mode=0o711, exist_ok=True)
            fresh = file.with_suffix(".new")
            host_command.run("qemu-img", "create", "-q", "-f", "qcow2", str(fresh), str(size))
            failpoints.point("libvirt-volume-made")
            fresh.replace(file)

        await self._connection.run(work)

    async def delete_volume(self, volume_id: str) -> None:
        """Remove the file, and what a crash left of making it."""
        file = self._files.volume(volume_id)

        def work() -> None:
            file.with_suffix(".new").unlink(missing_ok=True)
            file.unlink(missing_ok=True)

        await self._connection.run(work)
