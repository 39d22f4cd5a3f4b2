"""The files of a guest on its host's disk: its image in the cache, its root disk, and what it is told about itself."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from pycdlib.pycdlibexception import PyCdlibException

from agent.drivers.driver import Secrets
from agent.drivers.libvirt import config_drive, guest_metadata, root_disk
from agent.drivers.libvirt.host import LibvirtHost
from agent.drivers.libvirt.instance_files import InstanceFiles
from domain.guest_spec import GuestSpec, ImageRef
from infra.process import failpoints


class LibvirtDisks(LibvirtHost):
    """Adds the guests' files to a host."""

    async def prepare_image(self, image: ImageRef) -> None:
        """Copy and verify the image unless it is here."""
        await self._images.have(image)

    async def cached_images(self) -> list[str]:
        """List the files of the cache."""
        return await self._connection.run(self._images.checksums)

    async def drop_images(self, checksums: Collection[str]) -> list[str]:
        """Remove the files, but for those that stand in the header of a disk here."""

        def work() -> list[str]:
            based_on = self._files.based_on()
            return [each for each in checksums if each not in based_on and self._images.drop(each)]

        return await self._connection.run(work)

    async def create_disk(self, guest: GuestSpec) -> None:
        """Make the overlay on the cached image."""
        files = self._files.instance(guest.id)

        def work() -> None:
            files.make()
            root_disk.create(files.disk, guest.image, self._images.path(guest.image), guest.disk)
            failpoints.point("libvirt-disk-made")

        await self._connection.run(work)

    async def delete_disk(self, instance_id: str) -> None:
        """Remove the instance's directory."""

        def work() -> None:
            self._files.remove(instance_id)
            failpoints.point("libvirt-disk-gone")

        await self._connection.run(work)

    async def replace_disk(self, guest: GuestSpec) -> None:
        """Rename the disk, then make the overlay."""
        files = self._files.instance(guest.id)

        def work() -> None:
            if files.disk.exists() and not files.old_disk.exists():
                files.disk.rename(files.old_disk)
            root_disk.create(files.disk, guest.image, self._images.path(guest.image), guest.disk)

        await self._connection.run(work)

    async def restore_disk(self, instance_id: str) -> None:
        """Rename it back, over the one that took its place."""
        files = self._files.instance(instance_id)

        def work() -> None:
            files.copied_disk.unlink(missing_ok=True)
            if files.old_disk.exists():
                files.old_disk.replace(files.disk)

        await self._connection.run(work)

    async def drop_old_disk(self, instance_id: str) -> None:
        """Remove the file of the disk before."""
        await self._connection.run(lambda: self._files.instance(instance_id).old_disk.unlink(missing_ok=True))

    async def create_rescue_disk(self, instance_id: str, image: ImageRef) -> None:
        """Make the overlay anew, as large as the image."""
        files = self._files.instance(instance_id)

        def work() -> None:
            files.make()
            files.rescue_disk.unlink(missing_ok=True)
            root_disk.create(files.rescue_disk, image, self._images.path(image), 0)

        await self._connection.run(work)

    async def delete_rescue_disk(self, instance_id: str) -> None:
        """Remove the file of the rescue disk."""
        await self._connection.run(lambda: self._files.instance(instance_id).rescue_disk.unlink(missing_ok=True))

    async def write_config_drive(self, guest: GuestSpec, secrets: Secrets) -> None:
        """Write the metadata documents and, where the guest wants one, the ISO image with them."""
        files = self._files.instance(guest.id)

        def work() -> None:
            files.make()
            mtu = self._networks.uplink.mtu()
            documents = guest_metadata.documents(guest, secrets, mtu, self._vendor_data)
            if guest.config_drive:
                if documents != _on(files.config_drive):
                    config_drive.write(files.config_drive, documents)
                # Only the guest's root can read the drive, the service any user of it.
                documents = guest_metadata.documents(guest, replace(secrets, password=""), mtu, self._vendor_data)
            if documents != guest_metadata.kept(files.told):
                guest_metadata.keep(files.told, documents)

        await self._connection.run(work)

    async def told(self, instance_id: str) -> Secrets | None:
        """Read the documents that were kept, and the config drive, which has the password."""
        files = self._files.instance(instance_id)
        return await self._connection.run(lambda: told_by(files))


def told_by(files: InstanceFiles) -> Secrets | None:
    """Return the secrets in the documents that an instance's files have; None where they have none. Raises OSError."""
    documents = {**guest_metadata.kept(files.told), **_on(files.config_drive)}
    return guest_metadata.secrets_of(documents) if documents else None


def _on(drive: Path) -> dict[str, bytes]:
    """The documents on a config drive; none where there is none, or it cannot be read: then it is written anew."""
    try:
        return config_drive.read(drive) if drive.exists() else {}
    except PyCdlibException:
        return {}
