"""The disks of an instance as its host finds them."""

from typing import Annotated

from domain.core.fields import PLAIN
from domain.core.messages import Model


class LocalDisk(Model):
    """A file on a host's own disk that an instance has as a disk, or keeps as one."""

    name: Annotated[str, PLAIN]
    """Use of the file: root, root-before (kept while a resize waits), rescue, config-drive or volume."""
    device: str = ""
    """Name of the device that the guest has it as, such as vda; empty where the guest does not have it."""
    path: Annotated[str, PLAIN]
    """Absolute path on the host."""
    format: str
    virtual_size: int
    """Size in bytes as the guest sees it."""
    real_size: int
    """Bytes that the file takes on the host."""
    backing_file: Annotated[str, PLAIN] = ""
    """Path of the file below it; empty where it stands alone."""


class LocalDisks(Model):
    """The local disks of an instance, the root disk first."""

    disks: tuple[LocalDisk, ...]
