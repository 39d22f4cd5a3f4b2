"""Whether this host can run guests on its processors.

Why not by /dev/kvm alone: inside of virtual machines it may open, create a machine and still be unable to run one,
because the processor's extensions behind it were not passed on. libvirt's own capabilities do not look that far.
"""

import fcntl
import os
import platform
from pathlib import Path

KVM_CREATE_VM = 0xAE01
EXTENSIONS = {"vmx", "svm"}
"""Flags of x86 processors, one of which every KVM on them needs."""


def usable(device: Path = Path("/dev/kvm"), cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """True where a virtual machine can be created and the processor can run it."""
    if platform.machine() == "x86_64" and not EXTENSIONS & _flags(cpuinfo):
        return False
    try:
        kvm = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.close(fcntl.ioctl(kvm, KVM_CREATE_VM, 0))
    except OSError:
        return False
    finally:
        os.close(kvm)
    return True


def _flags(cpuinfo: Path) -> set[str]:
    for line in cpuinfo.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return set(value.split())
    return set()
