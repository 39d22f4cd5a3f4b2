"""The jobs that put an instance on its networks and take it off."""

from agent.jobs.handler import Context, Facts, handles
from domain.guest_spec import GuestSpec
from domain.jobs.network import PlugPorts, UnplugPorts


@handles(PlugPorts)
async def plug_ports(job: PlugPorts, guest: GuestSpec, context: Context) -> Facts:
    """Networks and entries that are there stay."""
    await context.driver.plug(guest)
    return ()


@handles(UnplugPorts)
async def unplug_ports(job: UnplugPorts, guest: GuestSpec, context: Context) -> Facts:
    """Entries that are gone already are success."""
    await context.driver.unplug(guest)
    return ()
