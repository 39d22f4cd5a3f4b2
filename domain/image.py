"""Images: what root disks are made of.

The bytes are in the image store under their SHA-256; an image names them. So the same bytes are kept once, an agent
can check what it fetched, and an instance knows for ever what it was built from.
"""

from datetime import datetime
from typing import ClassVar, Literal

from domain.core.errors import AlreadyExists, NotFound
from domain.core.messages import Command, Decision, Envelope, Event, Model, Outgoing, Topic
from domain.jobs.image import DiscardInstanceImage, MakeInstanceImage
from domain.kind import Kind, ListFilter
from domain.tasks.messages import JobResult, JobsAnswered, Reply

Format = Literal["qcow2", "raw"]


class Image(Model):
    """An image."""

    id: str
    project: str
    name: str
    description: str = ""
    checksum: str
    format: Format
    size: int
    virtual_size: int
    arch: str
    created: datetime
    updated: datetime
    deleted: datetime | None = None


class ImageCommand(Command):
    """A wish about an image."""

    abstract: ClassVar[bool] = True
    kind = "image"


class CreateImage(ImageCommand):
    """Create an image from bytes in the image store."""

    name: str
    description: str = ""
    checksum: str
    format: Format
    size: int
    virtual_size: int
    arch: str = "x86_64"


class DeleteImage(ImageCommand):
    """Delete an image; instances made of it keep their disks."""

    relieves: ClassVar[bool] = True


class ImageEvent(Event):
    """A fact about an image."""

    abstract: ClassVar[bool] = True
    kind = "image"


class ImageCreated(ImageEvent):
    """It exists, like this."""

    project: str
    name: str
    description: str = ""
    checksum: str
    format: Format
    size: int
    virtual_size: int
    arch: str
    at: datetime


class ImageDeleted(ImageEvent):
    """It is gone."""

    at: datetime


def evolve(now: Image | None, event: Event, subject_id: str) -> Image:
    """The image after this event. Raises TypeError for an event that is none of an image's."""
    match event:
        case ImageCreated():
            given = {name: getattr(event, name) for name in ImageCreated.model_fields if name != "at"}
            return Image(id=subject_id, created=event.at, updated=event.at, **given)
        case ImageDeleted() if now:
            return now.but(deleted=event.at, updated=event.at)
        case _:
            raise TypeError(f"{event.type_name} does not apply to image {subject_id}")


def decide(now: Image | None, envelope: Envelope) -> Decision:
    """Facts and answers. Raises a Refusal where the image cannot do it."""
    ident = envelope.subject.id
    match envelope.data:
        case MakeInstanceImage() as make:
            return _made(now, make, envelope)
        case DiscardInstanceImage(reply=reply):
            there = now is not None and now.deleted is None
            return Decision([ImageDeleted(at=envelope.time)] if there else [], [_answer(reply, "DiscardImage")])
    if isinstance(envelope.data, CreateImage):
        if now is not None:
            raise AlreadyExists(kind="image", id=ident)
        return Decision([ImageCreated(project=envelope.project, at=envelope.time, **envelope.data.model_dump())])
    if now is None or now.deleted is not None:
        raise NotFound(kind="image", id=ident)
    if isinstance(envelope.data, DeleteImage):
        return Decision([ImageDeleted(at=envelope.time)])
    raise TypeError(f"{envelope.data.type_name} is nothing an image decides")


def _made(now: Image | None, make: MakeInstanceImage, envelope: Envelope) -> Decision:
    """Asked for twice, it is made once."""
    if now is not None and now.deleted is not None:
        raise NotFound(kind="image", id=envelope.subject.id)
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
    help="What root disks are made of.",
    state=Image,
    evolve=evolve,
    delete=DeleteImage,
    filters=(ListFilter("checksum", "Of these bytes (SHA-256)."),),
    shown=("format", "size", "virtual_size", "arch"),
)
