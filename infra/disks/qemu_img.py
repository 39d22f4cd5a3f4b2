"""The command lines of qemu-img, each with the format of what it reads and limits on what it uses.

Why the format is always said: qemu-img would guess it from the content, and a guest, or whoever made an image, writes
the content: a raw disk that begins as qcow2 would be read as one, with the files of the host that it names.
"""

from infra.process.limits import Limits

MEMORY = 2 << 30
QUICK = Limits(cpu=30, memory=MEMORY)
"""For what reads or writes tables alone."""
COPY = Limits(cpu=3600, memory=MEMORY)
"""For what copies a disk, which takes as long as the disk is large: whoever waits for it has a limit of time."""


def command(operation: str, read_as: str, *arguments: str, limits: Limits = QUICK) -> tuple[str, ...]:
    """Return the command line of an operation on a file in the format `read_as`; of `create`, the format to make."""
    return limits.around(("qemu-img", operation, "-f", read_as, *arguments))
