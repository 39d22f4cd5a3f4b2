"""A thread's visit to another network namespace.

Why a system call by ctypes: `os.setns` is there from Python 3.12 on.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.drivers import host_command

CLONE_NEWNET = 0x40000000
NOT_THERE, GOING = 1, 2
"""`ip` ends with these for a device that is not there, and for one that the kernel takes away meanwhile."""


@contextmanager
def of_process(pid: int) -> Iterator[None]:
    """Have the calling thread in the process's network namespace for the time of a block. Raises OSError, for example
    ProcessLookupError where the process has ended."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        theirs = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(theirs)
        finally:
            os.close(theirs)
        try:
            yield
        finally:
            _enter(own)
    finally:
        os.close(own)


def there(device: str) -> bool:
    """Return whether the calling thread's network namespace has a device of this name."""
    # Not /sys/class/net: that has the devices of the namespace in which sysfs was mounted.
    return Path("/proc/sys/net/ipv4/conf", device).exists()


def without_ipv6(device: str) -> None:
    """Keep the calling thread's network namespace from an IPv6 address on a device, by which it would ask for routers
    and neighbours in a network that is the guests' alone. Raises OSError."""
    Path("/proc/sys/net/ipv6/conf", device, "disable_ipv6").write_text("1")


def remove(device: str) -> None:
    """Remove a device; one that is not there, or goes at the same moment with the namespace of its peer, is success.

    Raises DriverError "host-command-failed".
    """
    command = ("ip", "link", "del", "dev", device)
    if host_command.run(*command, fails=(NOT_THERE, GOING)) is None and there(device):
        host_command.run(*command, fails=(NOT_THERE,))


def own() -> Path:
    """Return the path by which other processes find the calling thread's network namespace."""
    return Path("/proc", os.readlink("/proc/thread-self"), "ns/net")


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
