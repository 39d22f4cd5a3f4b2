"""The jobs that copy an image, or another volume, into a volume's file."""

from agent.jobs.handler import Context, Facts, handles_without_guest
from domain.jobs.copy import CopyToVolume, FetchImage


@handles_without_guest(FetchImage)
async def fetch_image(job: FetchImage, context: Context) -> Facts:
    """An image that is here was verified when it came."""
    await context.driver.prepare_image(job.image)
    return ()


@handles_without_guest(CopyToVolume)
async def copy_to_volume(job: CopyToVolume, context: Context) -> Facts:
    """A file that is there keeps what is on it: it is whole once it has its name."""
    copied = job.image or job.source
    await context.driver.copy_volume(job.volume_id, job.size, job.pool_id, copied, context.progress)
    return ()
