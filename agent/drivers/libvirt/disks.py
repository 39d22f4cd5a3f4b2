"""What a guest has on its host's disk: its image in the cache, its root disk, and what it is told about itself."""

from agent.drivers.driver import Secrets
from agent.drivers.libvirt import config_drive, guest_metadata, root_disk
from agent.drivers.libvirt.host import LibvirtHost
from domain.guest_spec import GuestSpec, ImageRef
from infra.process import failpoints


class LibvirtDisks(LibvirtHost):
    """Adds the guests' files to a host."""

    async def prepare_image(self, image: ImageRef) -> None:
        """Copy and verify the image unless it is here."""
        await self._images.have(image)

    async def create_disk(self, guest: GuestSpec) -> None:
        """Make the overlay."""
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

    async def write_config_drive(self, guest: GuestSpec, secrets: Secrets) -> None:
        """Write the metadata documents and, where the guest wants one, the ISO image with them."""
        files = self._files.instance(guest.id)

        def work() -> None:
            files.make()
            documents = guest_metadata.documents(guest, secrets, self._networks.uplink.mtu())
            if guest.config_drive:
                config_drive.write(files.config_drive, documents)
                documents = guest_metadata.without_password(documents)
            guest_metadata.keep(files.told, documents)

        await self._connection.run(work)

    async def told(self, instance_id: str) -> Secrets | None:
        """What is kept for the metadata service."""
        user_data = await self._connection.run(lambda: guest_metadata.kept(self._files.instance(instance_id).told))
        return None if user_data is None else Secrets(user_data=user_data)
