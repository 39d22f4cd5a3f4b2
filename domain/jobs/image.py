"""Jobs that make an image of an instance's root disk: bytes are put into the image store, then an image names them."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from domain.core.fields import PERSONAL
from domain.core.messages import Command, Key, Message, derived_id
from domain.guest_spec import ImageRef
from domain.tasks.job import AggregateJob, Fact, HostJob, Where
from domain.tasks.messages import Reply
from domain.tasks.task import Task

UPLOADED = "uploaded"
"""Under which a task knows what UploadDisk has put into the image store."""


class MakeInstanceImage(Command):
    """Make an image of bytes that were put into the image store for a task."""

    kind = "image"
    revision: ClassVar[int] = 2

    reply: Reply
    project: str
    name: Annotated[str, PERSONAL]
    description: Annotated[str, PERSONAL] = ""
    checksum: str
    format: str
    size: int
    virtual_size: int
    arch: str
    min_ram: int = 0
    properties: Annotated[dict[str, str], PERSONAL] = Field(default_factory=dict)


class DiscardInstanceImage(Command):
    """Delete the image that a task made, where it did."""

    kind = "image"

    reply: Reply


class UploadDisk(HostJob):
    """Make one file of the instance's root disk and the image below it, and put that into the image store."""

    deadline = 600.0
    abortable = True

    compress: bool = False
    """Whether the file is compressed, where the guest is off."""


class DiscardUpload(HostJob):
    """Take what was put into the image store for a task out of it, unless an image or another instance needs it."""

    attempts = 5

    task_id: str = ""
    """Id of the task; empty: the one that the job is a step of."""


class MakeImage(AggregateJob):
    """Have an image name what was put into the image store."""

    deadline = 30.0
    attempts = 3

    name: Annotated[str, PERSONAL]
    description: Annotated[str, PERSONAL] = ""

    def message(self, subject: Any, task: Task, reply: Reply, where: Where) -> tuple[Key, Message]:
        """The image is asked to be, in the instance's project. Raises KeyError where nothing was uploaded."""
        command = MakeInstanceImage(
            reply=reply,
            project=subject.project,
            name=self.name,
            description=self.description,
            arch=subject.image.arch,
            min_ram=subject.image.min_ram,
            properties=subject.image.properties,
            **task.known[UPLOADED],
        )
        return image_of(task), command


class DiscardImage(AggregateJob):
    """Delete the image that was made."""

    deadline = 30.0
    attempts = 5

    def message(self, subject: Any, task: Task, reply: Reply, where: Where) -> tuple[Key, Message]:
        """The image is told that it is of no use."""
        return image_of(task), DiscardInstanceImage(reply=reply)


class DiskUploaded(Fact):
    """The image store has these bytes."""

    fact: Literal["disk-uploaded"] = "disk-uploaded"
    checksum: str
    """SHA-256 of the file, in lower-case hexadecimal digits."""
    format: str
    size: int
    """Bytes of the file."""
    virtual_size: int
    """Bytes of a disk made of it."""

    def apply(self, subject: Any, where: Where) -> Any:
        """The instance, as it was."""
        return subject

    def note(self, task: Task) -> Task:
        """The task, which knows what the image is to be made of."""
        return task.but(known={**task.known, UPLOADED: self.model_dump(exclude={"fact"})})


def disk_image(subject: Any, task: Task) -> ImageRef:
    """The image that a task put into the image store, and that no one but the instance needs. Raises KeyError where
    nothing was uploaded."""
    image = subject.image
    return ImageRef(
        id=task.id, name=f"disk of {subject.id}", arch=image.arch, min_ram=image.min_ram, **task.known[UPLOADED]
    )


def image_of(task: Task) -> Key:
    """The image that a task makes."""
    return Key("image", derived_id(task.id, "image"))
