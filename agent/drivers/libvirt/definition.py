"""The definitions of guests in libvirt, made from the record each time."""

import libvirt

from agent.drivers.libvirt import xml
from agent.drivers.libvirt.display import display_password
from agent.drivers.libvirt.host import LibvirtHost
from agent.drivers.libvirt.power import turn_off
from domain.guest_spec import GuestSpec
from infra.process import failpoints


class LibvirtDefinitions(LibvirtHost):
    """Adds the guests' definitions to a host."""

    async def define(self, guest: GuestSpec) -> None:
        """Define the guest, with a password for its display that nobody knows until one is asked for."""
        sources = await self._sources(guest.volumes)

        def work(connection: libvirt.virConnect) -> None:
            files = self._files.instance(guest.id)
            files.make()
            definition = xml.domain_xml(guest, files, self._images.path, sources, self._machine(), display_password())
            connection.defineXML(definition)
            failpoints.point("libvirt-defined")

        await self._connection.call(work)

    async def undefine(self, instance_id: str) -> None:
        """Turn the guest off at once and forget it, with all that libvirt keeps for it."""

        def work(domain: libvirt.virDomain) -> None:
            turn_off(domain)
            failpoints.point("libvirt-destroyed")
            domain.undefineFlags(
                libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
                | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
                | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
                | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
            )
            failpoints.point("libvirt-undefined")

        await self._with(instance_id, work)
