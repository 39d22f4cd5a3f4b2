"""Images: what root disks are made of.

The bytes are in the image store under their SHA-256; an image names them. So the same bytes are kept once, an agent
can check what it fetched, and an instance knows for ever what it was built from.
"""

from datetime import datetime
from typing import Annotated, ClassVar, Literal

from domain.core.errors import AlreadyExists, NotFound, deleted_at
from domain.core.fields import PERSONAL
from domain.core.messages import Command, Decision, Envelope, Event, Model, Outgoing, Topic
from domain.jobs.image import DiscardInstanceImage, MakeInstanceImage
from domain.kind import Kind
from domain.named import Named
from domain.tasks.messages import JobResult, JobsAnswered, Reply

Format = Literal["qcow2", "raw"]
ARCH = r"^[a-z0-9_]{1,32}$"
"""Names of processor architectures, such as x86_64."""


class Image(Model):
    """A disk image that instances are made from."""

    id: str
    project: str
    name: Annotated[str, PERSONAL]
    description: Annotated[str, PERSONAL] = ""
    checksum: str
    format: Format
    size: int
    virtual_size: int
    arch: str
    created: datetime
    updated: datetime
    deleted: datetime | None = None


class ImageCommand(Command):
    """A command for an image."""

    abstract: ClassVar[bool] = True
    kind = "image"


class CreateImage(ImageCommand):
    """Create an image from bytes in the image store."""

    name: Annotated[str, PERSONAL]
    description: Annotated[str, PERSONAL] = ""
    checksum: str
    format: Format
    size: int
    virtual_size: int
    arch: str = "x86_64"


class UpdateImage(ImageCommand):
    """Change an image's name, description or architecture; fields that are left out stay as they are, and so do
    instances that were made of it."""

    name: Annotated[str | None, PERSONAL] = None
    description: Annotated[str | None, PERSONAL] = None
    arch: str | None = None
    """Processor architecture, such as x86_64: only hosts that have it get instances of the image."""


class DeleteImage(ImageCommand):
    """Delete an image; instances made of it keep their disks."""

    relieves: ClassVar[bool] = True


class ImageEvent(Event):
    """A fact about an image."""

    abstract: ClassVar[bool] = True
    kind = "image"


class ImageCreated(ImageEvent):
    """The image exists, with these values."""

    project: str
    name: Annotated[str, PERSONAL]
    description: Annotated[str, PERSONAL] = ""
    checksum: str
    format: Format
    size: int
    virtual_size: int
    arch: str
    at: datetime


class ImageUpdated(ImageEvent):
    """The image changed; a field that is None stays as it was."""

    name: Annotated[str | None, PERSONAL] = None
    description: Annotated[str | None, PERSONAL] = None
    arch: str | None = None
    at: datetime


class ImageDeleted(ImageEvent):
    """The image is deleted; instances keep their disks."""

    at: datetime


RULES = Named("image", Image, CreateImage, ImageCreated, DeleteImage, ImageDeleted, UpdateImage, ImageUpdated)
evolve = RULES.evolve


def decide(now: Image | None, envelope: Envelope) -> Decision:
    """Return the events of a command, and the answer to a job. Raises a Refusal where the image does not allow it."""
    match envelope.data:
        case MakeInstanceImage() as make:
            return _made(now, make, envelope)
        case DiscardInstanceImage(reply=reply):
            there = now is not None and now.deleted is None
            return Decision([ImageDeleted(at=envelope.time)] if there else [], [_answer(reply, "DiscardImage")])
    if isinstance(envelope.data, CreateImage) and now is not None:
        # Names are not unique: it is the id that exists, deleted or not.
        raise AlreadyExists(kind="image", id=envelope.subject.id)
    return RULES.decide(now, envelope)


def _made(now: Image | None, make: MakeInstanceImage, envelope: Envelope) -> Decision:
    """Asked for twice, it is made once."""
    if now is not None and now.deleted is not None:
        raise NotFound(kind="image", id=envelope.subject.id, hint=deleted_at(now.deleted))
    created = ImageCreated(at=envelope.time, **make.model_dump(exclude={"reply"}))
    return Decision([] if now else [created], [_answer(make.reply, "MakeImage")])


def _answer(reply: Reply, name: str) -> Outgoing:
    message = JobsAnswered(
        task_id=reply.task_id,
        dispatch_id=reply.dispatch_id,
        results=(JobResult(job_id=reply.job_id, name=name),),
    )
    return Outgoing(Topic.RESULTS, reply.key, message)


KIND = Kind(
    name="image",
    help="Disk images that instances are made from.",
    state=Image,
    evolve=evolve,
    update=UpdateImage,
    delete=DeleteImage,
    shown=("format", "size", "virtual_size", "arch"),
)
