"""A guest's networks on its host."""

from collections.abc import Mapping
from functools import partial

from agent.drivers.driver import DriverFault
from agent.drivers.libvirt import guest_metadata, xml
from agent.drivers.libvirt.devices import LibvirtDevices
from agent.drivers.network.guest_networks import MetadataSockets
from domain.guest_spec import GuestSpec, Nic
from domain.network.on_host import HostNetworks, RuleCount
from domain.network.port_settings import HostPorts


class LibvirtNics(LibvirtDevices):
    """Adds the guests' networks to a host."""

    def give_metadata_sockets(self, answers: MetadataSockets) -> None:
        """Hand the metadata sockets of all networks, from now on, to whoever answers guests there."""
        self._networks.answers = answers

    def metadata_document(self, segment: int, address: str, name: str) -> bytes | None:
        """Return a document of the guest that has the address in the network; None where there is none, or where the
        request's frames came from another MAC address than the guest's. Blocks.

        Raises ValueError for an address that is none.
        """
        entry = self._networks.owner(segment, address)
        if entry is None or self._networks.neighbour(segment, address) != entry.mac:
            return None
        return guest_metadata.kept(self._files.instance(entry.instance_id).told).get(name)

    async def uplink_address(self) -> str:
        """Return the first address of the uplink."""
        return await self._connection.run(self._networks.uplink.address)

    async def tunnel_key(self) -> str:
        """Return the public half of the key that the host's networks keep."""
        return self._networks.tunnel.key

    async def know_hosts(self, hosts: Mapping[str, str]) -> None:
        """Keep the hosts, and join the networks that are there."""
        await self._connection.run(lambda: self._networks.know_hosts(hosts))

    async def ports(self) -> tuple[str, list[tuple[str, str, str]]]:
        """Read them from the records of the host's networks."""
        return await self._connection.run(self._networks.ports)

    async def know_ports(self, settings: HostPorts) -> None:
        """Keep the settings, and apply them."""
        await self._connection.run(lambda: self._networks.know_ports(settings))

    async def rule_counters(self, group: str = "") -> Mapping[str, RuleCount]:
        """Read the counters of the host's rules."""
        return await self._connection.run(lambda: self._networks.counted(group))

    async def networks(self) -> HostNetworks | None:
        """Compare the records of the host's networks with what it has."""
        return await self._connection.run(self._networks.told)

    async def plug(self, guest: GuestSpec) -> None:
        """Have the guest's networks and its addresses in them."""

        await self._connection.run(lambda: self._networks.plug(guest))

    async def unplug(self, guest: GuestSpec) -> None:
        """Take its addresses away, and networks that have none left."""

        await self._connection.run(lambda: self._networks.unplug(guest))

    async def attach_interface(self, guest: GuestSpec, nic: Nic) -> None:
        """Have the network first: the interface is joined to it at once."""
        await self.plug(guest.but(nics=(nic,)))
        await self._attach(
            guest.id, partial(xml.interface_of, mac=nic.mac), lambda *_: xml.interface_xml(guest, nic, self._machine())
        )

    async def detach_interface(self, guest: GuestSpec, nic: Nic) -> None:
        """Take the address away only when the guest has the interface no more."""
        find = partial(xml.interface_of, mac=nic.mac)
        await self._detach(guest.id, find, f"its network interface {nic.mac}", DriverFault.INTERFACE_NOT_RELEASED)
        await self.unplug(guest.but(nics=(nic,)))
