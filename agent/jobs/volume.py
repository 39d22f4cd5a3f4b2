"""The jobs for volumes on the host's disk."""

from agent.jobs.handler import Context, Facts, handles_without_guest
from domain.jobs.volume import CreateVolumeFile, DeleteVolumeFile


@handles_without_guest(CreateVolumeFile)
async def create_volume_file(job: CreateVolumeFile, context: Context) -> Facts:
    """A file that is there keeps what is on it."""
    await context.driver.create_volume(job.volume_id, job.size)
    return ()


@handles_without_guest(DeleteVolumeFile)
async def delete_volume_file(job: DeleteVolumeFile, context: Context) -> Facts:
    """A file that is gone already is success."""
    await context.driver.delete_volume(job.volume_id)
    return ()
