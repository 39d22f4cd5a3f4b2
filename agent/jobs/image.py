"""The jobs that bring an image to the host, and that make one of a disk that is there."""

from dataclasses import asdict

from agent.drivers.driver import DiskContent
from agent.jobs.handler import Context, Facts, handles, telling
from domain.guest_spec import GuestSpec
from domain.jobs.disk import PrepareImage
from domain.jobs.image import DiscardUpload, DiskUploaded, UploadDisk


@handles(PrepareImage)
async def prepare_image(job: PrepareImage, guest: GuestSpec, context: Context) -> Facts:
    """An image that is here was verified when it came."""
    await context.driver.prepare_image(job.image or guest.image)
    return ()


@handles(UploadDisk)
async def upload_disk(job: UploadDisk, guest: GuestSpec, context: Context) -> Facts:
    """The copy is half of the work, and sending it the other half."""
    total = 0

    def copied(done: int, of: int) -> None:
        nonlocal total
        total = 2 * of
        context.progress(done, total)

    def sent(done: int, of: int) -> None:
        context.progress((total // 2) + done * (total // 2) // max(1, of), total)

    async with context.driver.capture_disk(guest.id, copied, job.compress) as content:
        told = DiskContent(content.size, telling(content, sent))
        uploaded = await context.uploads.put(context.task_id, told)
    return (DiskUploaded(**asdict(uploaded)),)


@handles(DiscardUpload)
async def discard_upload(job: DiscardUpload, guest: GuestSpec, context: Context) -> Facts:
    """Delete the upload of a task from the image store; it is no error if there is none."""
    await context.uploads.discard(job.task_id or context.task_id, guest.id)
    return ()
