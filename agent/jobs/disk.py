"""The jobs for what an instance has on the host's disk."""

from agent.jobs.handler import Context, Facts, handles
from domain.guest_spec import GuestSpec
from domain.jobs.clone import DiskUnpacked
from domain.jobs.disk import (
    CreateDisk,
    CreateRescueDisk,
    DeleteDisk,
    DeleteRescueDisk,
    DropOldDisk,
    GrowDisk,
    KeepDisk,
    ReplaceDisk,
    RestoreDisk,
    UnpackDisk,
    WriteConfigDrive,
)


@handles(CreateDisk)
async def create_disk(job: CreateDisk, guest: GuestSpec, context: Context) -> Facts:
    """A disk that is there keeps the guest's data."""
    await context.driver.create_disk(guest)
    return ()


@handles(UnpackDisk)
async def unpack_disk(job: UnpackDisk, guest: GuestSpec, context: Context) -> Facts:
    """A disk that is there keeps the guest's data."""
    await context.driver.unpack_disk(guest, job.image, context.progress)
    return (DiskUnpacked(),)


@handles(DeleteDisk)
async def delete_disk(job: DeleteDisk, guest: GuestSpec, context: Context) -> Facts:
    """A directory that is gone already is success."""
    await context.driver.delete_disk(guest.id)
    return ()


@handles(ReplaceDisk)
async def replace_disk(job: ReplaceDisk, guest: GuestSpec, context: Context) -> Facts:
    """A disk that was put aside already stays there."""
    await context.driver.replace_disk(guest.but(image=job.image))
    return ()


@handles(RestoreDisk)
async def restore_disk(job: RestoreDisk, guest: GuestSpec, context: Context) -> Facts:
    """Where nothing was put aside, the disk is the one that it was."""
    await context.driver.restore_disk(guest.id)
    return ()


@handles(DropOldDisk)
async def drop_old_disk(job: DropOldDisk, guest: GuestSpec, context: Context) -> Facts:
    """A disk that is gone already is success."""
    await context.driver.drop_old_disk(guest.id)
    return ()


@handles(KeepDisk)
async def keep_disk(job: KeepDisk, guest: GuestSpec, context: Context) -> Facts:
    """A disk that was put aside already stays there, and its copy in its place."""
    await context.driver.keep_disk(guest.id, context.progress)
    return ()


@handles(GrowDisk)
async def grow_disk(job: GrowDisk, guest: GuestSpec, context: Context) -> Facts:
    """A disk that is as large stays as it is."""
    await context.driver.grow_disk(guest.id, job.size)
    return ()


@handles(CreateRescueDisk)
async def create_rescue_disk(job: CreateRescueDisk, guest: GuestSpec, context: Context) -> Facts:
    """A rescue disk that is there is replaced: nothing on it is to be kept."""
    await context.driver.create_rescue_disk(guest.id, job.image)
    return ()


@handles(DeleteRescueDisk)
async def delete_rescue_disk(job: DeleteRescueDisk, guest: GuestSpec, context: Context) -> Facts:
    """A rescue disk that is gone already is success."""
    await context.driver.delete_rescue_disk(guest.id)
    return ()


@handles(WriteConfigDrive)
async def write_config_drive(job: WriteConfigDrive, guest: GuestSpec, context: Context) -> Facts:
    """Written anew, as a whole, where it says something else."""
    await context.tell(guest)
    return ()
