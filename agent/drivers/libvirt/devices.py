"""Devices that a guest is given and that are taken from it, also while it runs."""

import asyncio
import logging
import time
from collections.abc import Callable

import libvirt

from agent.drivers.driver import DriverError, DriverFault
from agent.drivers.libvirt.host import LibvirtHost, unknown
from infra.process import failpoints

RELEASE = 30.0
"""Seconds that a guest has to let go of a device."""
POLL = 0.1
"""Seconds between looks at a guest that was asked to."""
LIVE, CONFIG = libvirt.VIR_DOMAIN_AFFECT_LIVE, libvirt.VIR_DOMAIN_AFFECT_CONFIG

Find = Callable[[str], str | None]
"""Given a definition of a guest: the device as it stands there; None where it does not."""

logger = logging.getLogger(__name__)


class LibvirtDevices(LibvirtHost):
    """Adds attaching and detaching of devices to a host."""

    async def _attach(self, instance_id: str, find: Find, make: Callable[..., str]) -> None:
        """Give the device to the guest that runs, and write it into the definition, each unless it is there.

        `make` returns it for these definitions of the guest. Raises DriverError "guest-unknown".
        """

        def work(domain: libvirt.virDomain) -> bool:
            wanted = {CONFIG: domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)}
            if domain.isActive():
                wanted = {LIVE: domain.XMLDesc(), **wanted}
            device = make(*wanted.values())
            for where, definition in wanted.items():
                if find(definition) is None:
                    domain.attachDeviceFlags(device, where)
                    failpoints.point("libvirt-device-attached")
            return True

        if not await self._with(instance_id, work):
            raise unknown(instance_id)

    async def _detach(self, instance_id: str, find: Find, what: str, refused: DriverFault) -> None:
        """Ask the guest until it has let go of the device, and only then take that out of the definition.

        Raises DriverError `refused` where the guest does not let go of it within RELEASE; `what` names it there.
        """

        def work(domain: libvirt.virDomain) -> None:
            device = find(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
            if device is not None:
                domain.detachDeviceFlags(device, CONFIG)

        until = time.monotonic() + RELEASE
        while await self._with(instance_id, lambda domain: _still_has(domain, find)):
            if time.monotonic() >= until:
                message = f"guest {instance_id} did not let go of {what} within {RELEASE:g} s"
                raise DriverError(refused, message)
            await asyncio.sleep(POLL)
        failpoints.point("libvirt-device-released")
        await self._with(instance_id, work)


def _still_has(domain: libvirt.virDomain, find: Find) -> bool:
    """Ask a guest that runs to let go of the device; whether it has it even so."""
    device = find(domain.XMLDesc()) if domain.isActive() else None
    if device is None:
        return False
    try:
        # It waits for some seconds, and says nothing when that was not enough.
        domain.detachDeviceFlags(device, LIVE)
    except libvirt.libvirtError as problem:
        if not domain.isActive():
            return False
        logger.info("the guest could not be asked to let go of a device: %s", problem)
    return domain.isActive() and find(domain.XMLDesc()) is not None
