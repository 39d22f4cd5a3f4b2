"""The driver for libvirt and QEMU: KVM where the host has it, emulation where not.

A class a capability, each in a file of its own; this one is all of them.
"""

from agent.drivers.libvirt.copied_volumes import LibvirtCopiedVolumes
from agent.drivers.libvirt.definition import LibvirtDefinitions
from agent.drivers.libvirt.display import LibvirtDisplay
from agent.drivers.libvirt.local_disks import LibvirtLocalDisks
from agent.drivers.libvirt.nics import LibvirtNics
from agent.drivers.libvirt.resized_disk import LibvirtResizedDisks
from agent.drivers.libvirt.unpacked_disk import LibvirtUnpackedDisks


class LibvirtDriver(
    LibvirtCopiedVolumes,
    LibvirtNics,
    LibvirtDefinitions,
    LibvirtUnpackedDisks,
    LibvirtResizedDisks,
    LibvirtLocalDisks,
    LibvirtDisplay,
):
    """A host's libvirt, as a Driver."""
