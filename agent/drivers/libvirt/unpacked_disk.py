"""Root disks that are made of an image of a root disk: of an instance that was shelved, or of another one.

Why an overlay on the instance's image again, and no disk that stands alone: whatever is done to the disk later (it is
moved, shelved, put aside) goes as with any other, and the image below it is what the instance's record says. Why the
fetched image does not go into the host's cache: no other instance will ever ask for it.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from agent.drivers import whole_file
from agent.drivers.driver import DriverError, DriverFault, Progress
from agent.drivers.libvirt.capture import LibvirtCapture
from agent.drivers.libvirt.convert import converting
from agent.drivers.storage import disk_size
from domain.guest_spec import GuestSpec, ImageRef
from infra.process import failpoints

PARTS = 2
"""Times that the disk is gone through: once to copy it, once to compare it with the image below."""


class LibvirtUnpackedDisks(LibvirtCapture):
    """Adds disks made of captured ones to a host."""

    async def unpack_disk(self, guest: GuestSpec, image: ImageRef, progress: Progress) -> None:
        """Fetch the image into the instance's directory, copy it beside the disk's place, and put it there."""
        files = self._files.instance(guest.id)
        if files.disk.exists():
            return
        below = self._images.path(guest.image)
        if not below.exists():
            raise DriverError(DriverFault.IMAGE_UNAVAILABLE, f"image {guest.image.name!r} is not on this host")
        fetched = self._images.at(files.directory)
        part = files.disk.with_suffix(".part")

        async def told(which: int, looks: AsyncGenerator[float, None]) -> None:
            async with aclosing(looks):
                async for done in looks:
                    progress(int(image.virtual_size * (which + done)), PARTS * image.virtual_size)

        await self._copying(files.make)
        try:
            await fetched.have(image)
            copy = ("-O", "qcow2", str(fetched.path(image)), str(part))
            await told(0, converting(image.format, *copy))
            await self._copying(lambda: disk_size.grow(part, guest.disk))
            # What differs from the image below stays in the overlay, so that the disk reads as before.
            on_image = ("-F", guest.image.format, "-b", str(below), str(part))
            await told(1, converting("qcow2", *on_image, operation="rebase"))
            await self._copying(lambda: whole_file.sync(part))
            failpoints.point("libvirt-disk-unpacked")
            part.replace(files.disk)
        finally:
            part.unlink(missing_ok=True)
            fetched.path(image).unlink(missing_ok=True)
            with suppress(OSError):
                # It holds the disk, or something else where this is not the first try.
                files.directory.rmdir()
