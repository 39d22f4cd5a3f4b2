"""The view of a guest from outside: the end of its console, and its display."""

import secrets
import string
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

import libvirt

from agent.drivers.driver import DriverError, DriverFault, VncAddress
from agent.drivers.libvirt import console, xml
from agent.drivers.libvirt.host import LibvirtHost, unknown

VNC_PASSWORD_LENGTH = 8
"""Characters; the protocol has no room for more."""


class LibvirtDisplay(LibvirtHost):
    """Adds the guests' consoles and displays to a host."""

    async def console_log(self, instance_id: str, most: int) -> bytes:
        """The end of what virtlogd has written for the guest."""
        files = self._files.instance(instance_id)
        return await self._connection.run(lambda: console.tail(files.console, most))

    async def vnc(self, instance_id: str, valid_seconds: int) -> VncAddress:
        """Give the running guest's display a new password that expires."""

        def work(domain: libvirt.virDomain) -> VncAddress:
            shown = xml.display(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE)) if domain.isActive() else None
            if shown is None:
                raise DriverError(DriverFault.GUEST_OFF, f"guest {instance_id} is off: it has no display")
            password = display_password()
            until = datetime.now(UTC) + timedelta(seconds=valid_seconds)
            shown.set("passwd", password)
            shown.set("passwdValidTo", until.strftime("%Y-%m-%dT%H:%M:%S"))
            domain.updateDeviceFlags(ET.tostring(shown, encoding="unicode"), libvirt.VIR_DOMAIN_AFFECT_LIVE)
            return VncAddress(self._address, int(shown.get("port", "0")), password, valid_seconds)

        answer = await self._with(instance_id, work)
        if answer is None:
            raise unknown(instance_id)
        return answer


def display_password() -> str:
    """Make a password for a display, as long as the protocol has room for."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(VNC_PASSWORD_LENGTH))
