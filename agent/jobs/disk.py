"""The jobs for what an instance has on the host's disk."""

from agent.jobs.handler import Context, Facts, handles, to_tell
from domain.guest_spec import GuestSpec
from domain.jobs.disk import CreateDisk, DeleteDisk, WriteConfigDrive


@handles(CreateDisk)
async def create_disk(job: CreateDisk, guest: GuestSpec, context: Context) -> Facts:
    """A disk that is there keeps the guest's data."""
    await context.driver.create_disk(guest)
    return ()


@handles(DeleteDisk)
async def delete_disk(job: DeleteDisk, guest: GuestSpec, context: Context) -> Facts:
    """What is gone already is success."""
    await context.driver.delete_disk(guest.id)
    return ()


@handles(WriteConfigDrive)
async def write_config_drive(job: WriteConfigDrive, guest: GuestSpec, context: Context) -> Facts:
    """Written anew each time, as a whole."""
    await context.driver.write_config_drive(guest, await to_tell(guest, context))
    return ()
