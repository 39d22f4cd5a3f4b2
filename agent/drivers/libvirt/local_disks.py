"""An instance's disks as files, looked up when somebody asks.

Why headers are read here and no program is asked: a guest that runs has its disks locked, and writes to them.
"""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import libvirt

from agent.drivers.driver import DriverError, DriverFault
from agent.drivers.libvirt.host import LibvirtHost
from domain.host.local_disks import LocalDisk
from infra.disks.qcow2 import backing_file, read_header

BLOCK = 512
"""Bytes of a block as a file system counts them."""


class LibvirtLocalDisks(LibvirtHost):
    """Adds a look at the guests' files to a host."""

    async def local_disks(self, instance_id: str) -> Sequence[LocalDisk]:
        """Look at the instance's own files, and at those of the host that its definition names."""
        files = self._files.instance(instance_id)
        defined = await self._with(instance_id, _sources) or {}
        named = {
            "root": files.disk,
            "root-before": files.old_disk,
            "rescue": files.rescue_disk,
            "config-drive": files.config_drive,
        }

        def work() -> list[LocalDisk]:
            own = [(name, path) for name, path in named.items() if path.exists()]
            known = set(named.values())
            others = [("volume", path) for path in defined if path not in known and self._files.state in path.parents]
            return [_found(name, path, defined.get(path, "")) for name, path in (*own, *others)]

        found = await self._connection.run(work)
        if not found:
            raise DriverError(DriverFault.DISK_MISSING, f"instance {instance_id} has no disk here")
        return found


def _sources(domain: libvirt.virDomain) -> dict[Path, str]:
    """Return the files that the guest has as disks, with the names of the devices."""
    found = {}
    for each in ET.fromstring(domain.XMLDesc()).findall("devices/disk"):
        source, target = each.find("source"), each.find("target")
        if source is not None and target is not None and (file := source.get("file")):
            found[Path(file)] = target.get("dev", "")
    return found


def _found(name: str, path: Path, device: str) -> LocalDisk:
    header, told = read_header(path), path.stat()
    return LocalDisk(
        name=name,
        device=device,
        path=str(path),
        format="qcow2" if header else "iso" if name == "config-drive" else "raw",
        virtual_size=header.virtual_size if header else told.st_size,
        real_size=told.st_blocks * BLOCK,
        backing_file=backing_file(path),
    )
