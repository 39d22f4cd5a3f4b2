"""A guest's networks on its host, and whose each address there is."""

import libvirt

from agent.drivers.libvirt.host import LibvirtHost
from domain.guest_spec import GuestSpec
from infra.process import failpoints


class LibvirtNics(LibvirtHost):
    """Adds the guests' networks to a host."""

    async def plug(self, guest: GuestSpec) -> None:
        """Have the guest's networks and its addresses in them."""

        def work(connection: libvirt.virConnect) -> None:
            self._networks.plug(connection, guest)
            failpoints.point("libvirt-half-plugged")
            for nic in guest.nics:
                self._files.give_address(nic.ip, guest.id)

        await self._connection.call(work)

    async def unplug(self, guest: GuestSpec) -> None:
        """Take its addresses away, and networks that have none left."""

        def work(connection: libvirt.virConnect) -> None:
            for nic in guest.nics:
                self._files.take_address(nic.ip, guest.id)
            failpoints.point("libvirt-half-unplugged")
            self._networks.unplug(connection, guest)

        await self._connection.call(work)
