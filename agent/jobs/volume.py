"""The jobs for volumes on the host's disk."""

from agent.drivers.driver import DriverError, DriverFault
from agent.jobs.handler import Context, Facts, handles, handles_without_guest
from domain.guest_spec import GuestSpec
from domain.jobs.volume import AttachVolume, CreateVolumeFile, DeleteVolumeFile, DetachVolume, ExtendVolumeFile


@handles_without_guest(CreateVolumeFile)
async def create_volume_file(job: CreateVolumeFile, context: Context) -> Facts:
    """A file that is there keeps what is on it."""
    await context.driver.create_volume(job.volume_id, job.size, job.pool_id)
    return ()


@handles_without_guest(ExtendVolumeFile)
async def extend_volume_file(job: ExtendVolumeFile, context: Context) -> Facts:
    """A file that is as large stays as it is."""
    await context.driver.extend_volume(job.volume_id, job.size, job.instance_id, job.pool_id)
    return ()


@handles_without_guest(DeleteVolumeFile)
async def delete_volume_file(job: DeleteVolumeFile, context: Context) -> Facts:
    """A file that is gone already is success."""
    await context.driver.delete_volume(job.volume_id, job.pool_id)
    return ()


@handles(AttachVolume)
async def attach_volume(job: AttachVolume, guest: GuestSpec, context: Context) -> Facts:
    """A guest that has the disk keeps it. Raises StopIteration where the specification does not name the volume."""
    volume = next(each for each in guest.volumes if each.id == job.volume_id)
    await context.driver.attach_volume(guest.id, volume)
    return ()


@handles(DetachVolume)
async def detach_volume(job: DetachVolume, guest: GuestSpec, context: Context) -> Facts:
    """A disk that the guest does not have is success, and so is a guest that is not known."""
    try:
        await context.driver.detach_volume(guest.id, job.volume_id)
    except DriverError as problem:
        if problem.code != DriverFault.VOLUME_NOT_RELEASED or not job.force:
            raise
        await context.driver.stop(guest.id, 0.0)
        await context.driver.detach_volume(guest.id, job.volume_id)
        # If this process ends before the next line, the guest stays off, and is shown so.
        await context.driver.start(guest.id)
    return ()
