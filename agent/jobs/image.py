"""The job that brings an image to the host."""

from agent.jobs.handler import Context, Facts, handles
from domain.guest_spec import GuestSpec
from domain.jobs.disk import PrepareImage


@handles(PrepareImage)
async def prepare_image(job: PrepareImage, guest: GuestSpec, context: Context) -> Facts:
    """An image that is here was verified when it came."""
    await context.driver.prepare_image(job.image or guest.image)
    return ()
