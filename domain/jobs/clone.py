"""Jobs that make new instances of an instance's root disk, once it is in the image store."""

from typing import Annotated, Any, ClassVar, Literal

from domain.core.fields import PERSONAL
from domain.core.messages import Command, Key, Message
from domain.guest_spec import ImageRef
from domain.jobs.image import disk_image
from domain.tasks.job import AggregateJob, Fact, Where
from domain.tasks.messages import Reply
from domain.tasks.task import Task


class BootCloned(Command):
    """Boot a new instance whose root disk is made of this image, of another instance's disk."""

    kind = "instance"
    revision: ClassVar[int] = 1

    reply: Reply
    image: ImageRef
    boot: Annotated[dict[str, Any], PERSONAL]
    """Fields of the command that boots an instance, as JSON."""


class BootClone(AggregateJob):
    """Have one of the task's clones booted; its boot is a task of its own."""

    deadline = 30.0
    attempts = 5

    number: int
    """Place among the clones of the task, from 0."""

    def message(self, subject: Any, task: Task, reply: Reply, where: Where) -> tuple[Key, Message]:
        """Return the command to the new instance. Raises KeyError where nothing was uploaded."""
        own = dict(task.params["clones"][self.number])
        ident, image = own.pop("id"), disk_image(subject, task)
        boot = {
            **task.params["spec"],
            **own,
            # As the instance is now: it may have been rebuilt since it was asked for a clone.
            "image": subject.image.model_dump(mode="json"),
            "disk": max(task.params["spec"]["disk"], image.virtual_size, subject.disk),
            "launch_index": self.number,
            "security_groups": task.params.get("security_groups", ()),
        }
        return Key("instance", ident), BootCloned(reply=reply, image=image, boot=boot)


class DiskUnpacked(Fact):
    """The instance has a root disk that was made of an image of a disk."""

    fact: Literal["disk-unpacked"] = "disk-unpacked"

    def apply(self, subject: Any, where: Where) -> Any:
        """Return the instance, which does not need the image any more if it is being built."""
        return subject.with_disk_unpacked()
