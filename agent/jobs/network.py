"""The jobs that put an instance on its networks, give it another interface, and take it off."""

from agent.jobs.handler import Context, Facts, handles
from domain.guest_spec import GuestSpec
from domain.jobs.network import AttachInterface, DetachInterface, PlugPorts, UnplugPorts


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


@handles(AttachInterface)
async def attach_interface(job: AttachInterface, guest: GuestSpec, context: Context) -> Facts:
    """A guest that has the interface keeps it."""
    await context.driver.attach_interface(guest, guest.nics[job.nic])
    await context.tell_anew(guest)
    return ()


@handles(DetachInterface)
async def detach_interface(job: DetachInterface, guest: GuestSpec, context: Context) -> Facts:
    """An interface that the guest does not have is success, and so is a guest that is not known."""
    await context.driver.detach_interface(guest, guest.nics[job.nic])
    await context.tell_anew(guest.but(nics=(*guest.nics[: job.nic], *guest.nics[job.nic + 1 :])))
    return ()
