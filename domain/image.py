"""Images: what root disks are made of.

The bytes are in the image store under their SHA-256; an image names them. So the same bytes are kept once, an agent
can check what it fetched, and an instance knows for ever what it was built from.

An image is queued until the first bytes come, uploading while they do, and verifying until they were compared with
their checksum and looked at. Then it is active, or failed and says why; a failed one may be uploaded again.
"""

from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from domain.core.errors import AlreadyExists, ImageProtected, NotFound, WrongStatus, deleted_at
from domain.core.fields import PERSONAL
from domain.core.messages import Command, Decision, Envelope, Event, Model
from domain.image_properties import architecture, must_be_properties
from domain.jobs.image import DiscardInstanceImage, MakeInstanceImage
from domain.kind import Kind, ListFilter
from domain.named import Named

Format = Literal["qcow2", "raw"]
"""Formats that hosts run."""
DiskFormat = Literal["", "qcow2", "raw", "iso"]
"""Format that an upload is said to have: an ISO 9660 image is a raw disk, which nobody takes it for unless it is said;
empty: qcow2 or raw, whichever it is."""
Convertible = Literal["", "vmdk", "vdi", "vhd", "vhdx"]
"""Formats that an upload is converted from, where that is asked for."""
Visibility = Literal["private", "public"]
"""Whether the image's project alone may use it, or every project."""


class ImageStatus(StrEnum):
    """Status of an image."""

    QUEUED = "queued"
    """No bytes have come."""
    UPLOADING = "uploading"
    """Bytes come, from its user or from its URL."""
    VERIFYING = "verifying"
    """The image has all bytes, which are compared with their checksum, looked at and, where asked for, converted."""
    ACTIVE = "active"
    """Instances can be made of it."""
    FAILED = "failed"
    """The bytes cannot be used, or did not come; `failure` says why."""


COMING = frozenset({ImageStatus.QUEUED, ImageStatus.UPLOADING, ImageStatus.VERIFYING})
"""Statuses in which an image waits for something."""


class Image(Model):
    """A disk image that instances are made from."""

    id: str
    project: str
    name: Annotated[str, PERSONAL]
    description: Annotated[str, PERSONAL] = ""
    status: ImageStatus = ImageStatus.ACTIVE
    failure: Annotated[str, PERSONAL] = ""
    """Why it failed; empty for one that did not."""
    checksum: str
    """SHA-256 of its file; before it is active the one that the upload has to have, or nothing."""
    format: str
    """Format of its file; empty before it is active."""
    size: int
    virtual_size: int
    arch: str
    visibility: Visibility = "public"
    """Projects that may use it; an image whose state an earlier release stored says nothing, and was everybody's."""
    protected: bool = False
    min_disk: int = 0
    min_ram: int = 0
    properties: Annotated[dict[str, str], PERSONAL] = Field(default_factory=dict)
    disk_format: DiskFormat = ""
    convert_from: Convertible = ""
    url: Annotated[str, PERSONAL] = ""
    """Where its bytes are fetched from; empty: they are uploaded."""
    created: datetime
    updated: datetime
    deleted: datetime | None = None


class ImageCommand(Command):
    """A command for an image."""

    abstract: ClassVar[bool] = True
    kind = "image"


class CreateImage(ImageCommand):
    """Create an image, whose bytes are uploaded then, or fetched from a URL."""

    name: Annotated[str, PERSONAL]
    description: Annotated[str, PERSONAL] = ""
    checksum: str = ""
    format: Literal["", "qcow2", "raw"] = ""
    """Format of bytes that are in the image store; empty: they are not there yet."""
    size: int = 0
    virtual_size: int = 0
    arch: str = "x86_64"
    visibility: Visibility = "private"
    protected: bool = False
    min_disk: int = 0
    min_ram: int = 0
    properties: Annotated[dict[str, str], PERSONAL] = Field(default_factory=dict)
    disk_format: DiskFormat = ""
    convert_from: Convertible = ""
    url: Annotated[str, PERSONAL] = ""


class BeginImageUpload(ImageCommand):
    """Take the first bytes of an image."""


class VerifyImage(ImageCommand):
    """Take an image's bytes as complete, and have them verified."""

    size: int


class ActivateImage(ImageCommand):
    """Let instances be made of an image whose bytes were verified."""

    relieves: ClassVar[bool] = True

    checksum: str
    format: Format
    size: int
    virtual_size: int


class FailImage(ImageCommand):
    """Give an image up whose bytes cannot be used, or did not come."""

    relieves: ClassVar[bool] = True

    failure: Annotated[str, PERSONAL]


class ImageChanges(Model):
    """Fields of an image that may change; one that is None stays as it is."""

    name: Annotated[str | None, PERSONAL] = None
    description: Annotated[str | None, PERSONAL] = None
    arch: str | None = None
    """Processor architecture, such as x86_64: only hosts that have it get instances of the image."""
    visibility: Visibility | None = None
    """Whether every project may use the image: private or public."""
    protected: bool | None = None
    """Whether the image cannot be deleted."""
    min_disk: int | None = None
    """Bytes that a root disk of the image needs at least."""
    min_ram: int | None = None
    """Bytes of memory that a flavor needs at least."""
    properties: Annotated[dict[str, str] | None, PERSONAL] = None
    """Properties to set; one with an empty value is removed, and others stay as they are."""


class UpdateImage(ImageCommand, ImageChanges):
    """Change an image; fields that are left out stay as they are, and so do instances that were made of it."""


class DeleteImage(ImageCommand):
    """Delete an image; instances made of it keep their disks."""

    relieves: ClassVar[bool] = True


class ImageEvent(Event):
    """A fact about an image."""

    abstract: ClassVar[bool] = True
    kind = "image"


class ImageCreated(ImageEvent):
    """The image exists, with these values."""

    revision: ClassVar[int] = 2

    project: str
    name: Annotated[str, PERSONAL]
    description: Annotated[str, PERSONAL] = ""
    status: ImageStatus = ImageStatus.ACTIVE
    checksum: str
    format: str
    size: int
    virtual_size: int
    arch: str
    visibility: Visibility = "private"
    protected: bool = False
    min_disk: int = 0
    min_ram: int = 0
    properties: Annotated[dict[str, str], PERSONAL] = Field(default_factory=dict)
    disk_format: DiskFormat = ""
    convert_from: Convertible = ""
    url: Annotated[str, PERSONAL] = ""
    at: datetime


class ImageUploadBegun(ImageEvent):
    """The first bytes of the image come."""

    at: datetime


class ImageUploaded(ImageEvent):
    """The image's bytes are complete, and are verified now."""

    size: int
    at: datetime


class ImageActivated(ImageEvent):
    """The image's bytes were verified, and are in the image store under this checksum."""

    checksum: str
    format: Format
    size: int
    virtual_size: int
    at: datetime


class ImageFailed(ImageEvent):
    """The image's bytes cannot be used, or did not come."""

    failure: Annotated[str, PERSONAL]
    at: datetime


class ImageUpdated(ImageEvent, ImageChanges):
    """The image changed; a field that is None stays as it was, and the properties are all that it has then."""

    revision: ClassVar[int] = 2

    at: datetime


class ImageDeleted(ImageEvent):
    """The image is deleted; instances keep their disks."""

    at: datetime


RULES = Named("image", Image, CreateImage, ImageCreated, DeleteImage, ImageDeleted, UpdateImage, ImageUpdated)


def evolve(now: Image | None, event: Event, subject_id: str) -> Image:
    """Return the image after this event. Raises TypeError for an event that does not apply to it."""
    if now is None:
        return RULES.evolve(now, event, subject_id)
    match event:
        case ImageUploadBegun():
            return now.but(status=ImageStatus.UPLOADING, failure="", updated=event.at)
        case ImageUploaded():
            return now.but(status=ImageStatus.VERIFYING, size=event.size, updated=event.at)
        case ImageActivated():
            found = event.model_dump(exclude={"at"})
            return now.but(status=ImageStatus.ACTIVE, updated=event.at, **found)
        case ImageFailed():
            return now.but(status=ImageStatus.FAILED, failure=event.failure, updated=event.at)
        case _:
            return RULES.evolve(now, event, subject_id)


def decide(now: Image | None, envelope: Envelope) -> Decision:
    """Return the events of a command, and the answer to a job. Raises a Refusal where the image does not allow it."""
    match envelope.data:
        case MakeInstanceImage() as make:
            return _made(now, make, envelope)
        case DiscardInstanceImage(reply=reply):
            there = now is not None and now.deleted is None
            return Decision([ImageDeleted(at=envelope.time)] if there else [], [reply.done("DiscardImage")])
        case CreateImage() as create:
            return _create(now, create, envelope)
        case BeginImageUpload() | VerifyImage() | ActivateImage() | FailImage():
            return Decision(_progress(RULES.alive(now, envelope), envelope))
        case UpdateImage() as update:
            return RULES.decide(now, replace(envelope, data=_checked(RULES.alive(now, envelope), update)))
        case DeleteImage() if RULES.alive(now, envelope).protected:
            raise ImageProtected(id=envelope.subject.id)
    return RULES.decide(now, envelope)


def _create(now: Image | None, create: CreateImage, envelope: Envelope) -> Decision:
    if now is not None:
        # Names are not unique: it is the id that exists, deleted or not.
        raise AlreadyExists(kind="image", id=envelope.subject.id)
    must_be_properties(create.properties)
    made = RULES.decide(now, replace(envelope, data=create.but(arch=architecture(create.arch))))
    (created,) = made.events
    # What has a format is in the image store already.
    status = ImageStatus.ACTIVE if create.format else ImageStatus.QUEUED
    return Decision([created.but(status=status)])


def _progress(image: Image, envelope: Envelope) -> list[Event]:
    """Return the event by which an image comes a step further; none where it is that far already."""
    match envelope.data:
        case BeginImageUpload():
            _require(image, "an upload", ImageStatus.QUEUED, ImageStatus.UPLOADING, ImageStatus.FAILED)
            begun = image.status is ImageStatus.UPLOADING
            return [] if begun else [ImageUploadBegun(at=envelope.time)]
        case VerifyImage(size=size):
            _require(image, "verification", ImageStatus.UPLOADING, ImageStatus.VERIFYING)
            uploaded = image.status is ImageStatus.VERIFYING
            return [] if uploaded else [ImageUploaded(size=size, at=envelope.time)]
        case ActivateImage() as activate:
            _require(image, "activation", ImageStatus.VERIFYING, ImageStatus.ACTIVE)
            active = image.status is ImageStatus.ACTIVE
            return [] if active else [ImageActivated(at=envelope.time, **activate.model_dump())]
        case FailImage(failure=failure):
            return [ImageFailed(failure=failure, at=envelope.time)] if image.status in COMING else []
    raise TypeError(f"{envelope.data.type_name} takes no image further")


def _require(image: Image, action: str, *allowed: ImageStatus) -> None:
    if image.status not in allowed:
        raise WrongStatus(kind="image", id=image.id, status=image.status, action=action, allowed=" or ".join(allowed))


def _checked(image: Image, update: UpdateImage) -> UpdateImage:
    """Return the change with all properties that the image has then. Raises Invalid."""
    changes: dict[str, Any] = {}
    if update.arch is not None:
        changes["arch"] = architecture(update.arch)
    if update.properties is not None:
        must_be_properties(update.properties, empty=lambda value: not value)
        merged = {**image.properties, **update.properties}
        changes["properties"] = {name: value for name, value in merged.items() if value}
    return update.but(**changes)


def _made(now: Image | None, make: MakeInstanceImage, envelope: Envelope) -> Decision:
    """Asked for twice, it is made once."""
    if now is not None and now.deleted is not None:
        raise NotFound(kind="image", id=envelope.subject.id, hint=deleted_at(now.deleted))
    created = ImageCreated(at=envelope.time, **make.model_dump(exclude={"reply"}))
    return Decision([] if now else [created], [make.reply.done("MakeImage")])


KIND = Kind(
    name="image",
    help="Disk images that instances are made from.",
    state=Image,
    evolve=evolve,
    update=UpdateImage,
    delete=DeleteImage,
    filters=(
        ListFilter("status", "in one of these statuses", several=True, values=tuple(ImageStatus)),
        ListFilter("checksum", "of bytes with this SHA-256"),
        ListFilter("visibility", "of this visibility", values=("private", "public")),
    ),
    shown=("status", "format", "size", "virtual_size", "arch", "visibility"),
)
