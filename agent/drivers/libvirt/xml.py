"""A guest as libvirt wants it written.

Why built from elements: names and metadata come from users, and no user's text can become markup this way.
"""

import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase
from xml.etree import ElementTree as ET

from agent.drivers.libvirt.instance_files import InstanceFiles
from agent.drivers.network.record import bridge_name, segment_of, tap_name
from agent.drivers.storage.store import DiskSource
from domain.guest_spec import AttachedVolume, GuestSpec, ImageRef, Nic

NAMESPACE = "urn:gostack:instance"
ET.register_namespace("gostack", NAMESPACE)

PREFIX = "gs-"
AGENT_CHANNEL = "org.qemu.guest_agent.0"
SPARE_PORTS = 16
"""PCI devices that can be attached to a guest while it runs."""
PRODUCT = "OpenStack Compute"
"""Product that a guest's firmware says it is: cloud images know by it in which form their metadata comes."""
STATS_PERIOD = 10
"""Seconds between a guest's reports on its memory."""


@dataclass(frozen=True)
class Machine:
    """Properties of a host that are the same for all its guests."""

    kvm: bool
    address: str
    """Address of the host at which displays listen."""
    mtu: int
    """Bytes in a packet of a guest."""
    cache: str = "none"
    """How the disk's writes pass the host's memory: QEMU's cache mode."""


Cached = Callable[[ImageRef], Path]


def domain_name(instance_id: str) -> str:
    """libvirt's name for a guest."""
    return PREFIX + instance_id


def domain_xml(
    guest: GuestSpec,
    files: InstanceFiles,
    cached: Cached,
    sources: Mapping[str, DiskSource],
    machine: Machine,
    password: str,
) -> str:
    """The definition of a guest. `cached`: where an image is on this host; `sources`: where each volume is, by id;
    `password`: its display's."""
    domain = ET.Element("domain", {"type": "kvm" if machine.kvm else "qemu"})
    _text(domain, "name", domain_name(guest.id))
    _text(domain, "uuid", str(uuid.UUID(guest.id)))
    _text(domain, "title", "".join(letter for letter in guest.name if letter.isprintable()))
    metadata = ET.SubElement(domain, "metadata")
    ET.SubElement(
        metadata,
        f"{{{NAMESPACE}}}instance",
        {"project": guest.project, "flavor": guest.flavor.id, "image": guest.image.id},
    )
    _text(domain, "memory", str(guest.flavor.memory // 1024), unit="KiB")
    _text(domain, "vcpu", str(guest.flavor.core), placement="static")
    _system(domain, guest)
    _processor(domain, guest, machine)
    ET.SubElement(domain, "clock", {"offset": "utc"})
    _text(domain, "on_poweroff", "destroy")
    _text(domain, "on_reboot", "restart")
    # A guest that crashed stays off: whoever watches decides what becomes of it.
    _text(domain, "on_crash", "destroy")
    devices = ET.SubElement(domain, "devices")
    disks = [] if guest.root_volume_id else [(files.disk, guest.image)]
    if guest.rescue_image is not None:
        # The firmware boots from the first.
        disks.insert(0, (files.rescue_disk, guest.rescue_image))
    bus = bus_of(guest)
    for letter, (overlay, image) in zip("ab", disks, strict=False):
        _disk(devices, bus, letter, overlay, image, cached, machine)
    # A root disk that is a volume comes before all others, and is where the image's drivers find it.
    volumes = sorted(guest.volumes, key=lambda volume: volume.id != guest.root_volume_id)
    for volume, letter in zip(volumes, ascii_lowercase[len(disks) :], strict=False):
        on = bus if volume.id == guest.root_volume_id else "virtio"
        name = f"{PREFIXES[on]}{letter}"
        devices.append(_volume(volume, sources[volume.id], name, machine, on))
    if guest.config_drive:
        _config_drive(devices, files, bus)
    if guest.config_drive or bus == "scsi":
        ET.SubElement(devices, "controller", {"type": "scsi", "model": "virtio-scsi"})
    for nic in guest.nics:
        _interface(devices, guest, nic, machine)
    _channels(devices, files)
    _display(devices, guest, machine, password)
    _small_devices(devices)
    _ports(devices)
    return ET.tostring(domain, encoding="unicode")


def volume_xml(volume: AttachedVolume, source: DiskSource, machine: Machine, *definitions: str) -> str:
    """A volume as a disk, under a name that is free in each of these definitions of a guest."""
    taken = {target.get("dev") for each in definitions for target in ET.fromstring(each).findall("devices/disk/target")}
    name = next(name for name in (f"vd{letter}" for letter in ascii_lowercase) if name not in taken)
    return ET.tostring(_volume(volume, source, name, machine), encoding="unicode")


def disk_of(xml: str, serial: str) -> str | None:
    """The disk with this serial number, as a definition has it; None where it has none."""
    found = (disk for disk in ET.fromstring(xml).findall("devices/disk") if disk.findtext("serial") == serial)
    return next((ET.tostring(disk, encoding="unicode") for disk in found), None)


def secrets_of(xml: str) -> set[str]:
    """The ids of the secrets that the disks of a definition need."""
    return {secret.get("uuid", "") for secret in ET.fromstring(xml).iterfind("devices/disk/source/auth/secret")}


def device_of(xml: str, serial: str) -> str:
    """The name (vdb) of the disk with this serial number in a definition; empty where it has none."""
    disk = disk_of(xml, serial)
    target = ET.fromstring(disk).find("target") if disk is not None else None
    return target.get("dev", "") if target is not None else ""


def files_of(xml: str, devices: Collection[str]) -> list[Path]:
    """The files of the disks with these names (vdb) in a definition, those below them not among them."""
    disks = ET.fromstring(xml)
    found = [disks.find(f"devices/disk/target[@dev='{device}']/../source[@file]") for device in devices]
    return [Path(source.get("file", "")) for source in found if source is not None]


def interface_xml(guest: GuestSpec, nic: Nic, machine: Machine) -> str:
    """A network interface of the guest."""
    devices = ET.Element("devices")
    _interface(devices, guest, nic, machine)
    return ET.tostring(devices[0], encoding="unicode")


def interface_of(xml: str, mac: str) -> str | None:
    """The network interface with this MAC address, as a definition has it; None where it has none."""
    found = ET.fromstring(xml).iterfind(f"devices/interface/mac[@address='{mac}']/..")
    return next((ET.tostring(interface, encoding="unicode") for interface in found), None)


def segments(xml: str) -> list[int]:
    """The segments of the networks that a definition plugs the guest into."""
    found = (source.get("bridge", "") for source in ET.fromstring(xml).findall("devices/interface/source"))
    return [segment for name in found if (segment := segment_of(name)) is not None]


def agent_connected(xml: str) -> bool:
    """Whether, by this definition of a running guest, its guest agent listens."""
    return any(
        target.get("name") == AGENT_CHANNEL and target.get("state") == "connected"
        for target in ET.fromstring(xml).findall("devices/channel/target")
    )


def display(xml: str) -> ET.Element | None:
    """The element of a guest's display."""
    return ET.fromstring(xml).find("devices/graphics[@type='vnc']")


def _text(parent: ET.Element, tag: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, tag, attributes).text = text


def _x86(guest: GuestSpec) -> bool:
    return guest.image.arch in ("x86_64", "i686")


def _system(domain: ET.Element, guest: GuestSpec) -> None:
    system = ET.SubElement(domain, "os")
    _text(system, "type", "hvm", arch=guest.image.arch, machine="q35" if _x86(guest) else "virt")
    ET.SubElement(system, "boot", {"dev": "hd"})
    if _x86(guest):
        # Without a config drive cloud-init asks the metadata service only of a machine that says that it has one.
        ET.SubElement(system, "smbios", {"mode": "sysinfo"})
        information = ET.SubElement(ET.SubElement(domain, "sysinfo", {"type": "smbios"}), "system")
        for name, value in (("manufacturer", "GoStack"), ("product", PRODUCT)):
            _text(information, "entry", value, name=name)
    features = ET.SubElement(domain, "features")
    ET.SubElement(features, "acpi")
    if _x86(guest):
        ET.SubElement(features, "apic")


def _processor(domain: ET.Element, guest: GuestSpec, machine: Machine) -> None:
    if machine.kvm:
        cpu = ET.SubElement(domain, "cpu", {"mode": "host-passthrough", "check": "none", "migratable": "on"})
    else:
        cpu = ET.SubElement(domain, "cpu", {"mode": "maximum", "check": "none"})
    if guest.flavor.mode == "strict":
        # Systems that are licensed, or limited, by the socket see one.
        ET.SubElement(cpu, "topology", {"sockets": "1", "dies": "1", "cores": str(guest.flavor.core), "threads": "1"})


PREFIXES = {"virtio": "vd", "scsi": "sd", "sata": "sd"}
"""Bus of a disk -> how the names of disks on it begin."""


def bus_of(guest: GuestSpec) -> str:
    """The bus of a guest's root disk, a volume or not: the image that it began as has the drivers for it."""
    return (guest.rescue_image or guest.image).properties.get("hw_disk_bus", "virtio")


def _disk(
    devices: ET.Element, bus: str, letter: str, overlay: Path, image: ImageRef, cached: Cached, machine: Machine
) -> None:
    disk = ET.SubElement(devices, "disk", {"type": "file", "device": "disk"})
    ET.SubElement(disk, "driver", {"name": "qemu", "type": "qcow2", "cache": machine.cache, "discard": "unmap"})
    ET.SubElement(disk, "source", {"file": str(overlay)})
    below = ET.SubElement(disk, "backingStore", {"type": "file"})
    ET.SubElement(below, "format", {"type": image.format})
    source = ET.SubElement(below, "source", {"file": str(cached(image))})
    # Shared by many guests, and maybe with the image store: its owner is not one guest's to change.
    ET.SubElement(source, "seclabel", {"model": "dac", "relabel": "no"})
    ET.SubElement(below, "backingStore")
    ET.SubElement(disk, "target", {"dev": f"{PREFIXES[bus]}{letter}", "bus": bus})


def _volume(volume: AttachedVolume, source: DiskSource, name: str, machine: Machine, bus: str = "virtio") -> ET.Element:
    disk = ET.Element("disk", {"type": source.type, "device": "disk"})
    ET.SubElement(disk, "driver", {"name": "qemu", "cache": machine.cache, "discard": "unmap", **source.driver})
    disk.append(source.source)
    ET.SubElement(disk, "target", {"dev": name, "bus": bus})
    if volume.read_only:
        ET.SubElement(disk, "readonly")
    _text(disk, "serial", volume.serial)
    return disk


def _config_drive(devices: ET.Element, files: InstanceFiles, bus: str) -> None:
    drive = ET.SubElement(devices, "disk", {"type": "file", "device": "cdrom"})
    ET.SubElement(drive, "driver", {"name": "qemu", "type": "raw"})
    ET.SubElement(drive, "source", {"file": str(files.config_drive)})
    # Behind the root and the rescue disk, where these have such names.
    ET.SubElement(drive, "target", {"dev": "sda" if bus == "virtio" else "sdc", "bus": "scsi"})
    ET.SubElement(drive, "readonly")


def _interface(devices: ET.Element, guest: GuestSpec, nic: Nic, machine: Machine) -> None:
    interface = ET.SubElement(devices, "interface", {"type": "bridge"})
    ET.SubElement(interface, "source", {"bridge": bridge_name(nic.segment)})
    ET.SubElement(interface, "target", {"dev": tap_name(nic.segment, nic.ip, nic.prefix)})
    ET.SubElement(interface, "mac", {"address": nic.mac})
    model = (guest.rescue_image or guest.image).properties.get("hw_vif_model", "virtio")
    ET.SubElement(interface, "model", {"type": model})
    if guest.flavor.multi_queue > 1 and model == "virtio":
        ET.SubElement(interface, "driver", {"queues": str(guest.flavor.multi_queue)})
    ET.SubElement(interface, "mtu", {"size": str(machine.mtu)})


def _channels(devices: ET.Element, files: InstanceFiles) -> None:
    serial = ET.SubElement(devices, "serial", {"type": "pty"})
    ET.SubElement(serial, "log", {"file": str(files.console), "append": "on"})
    ET.SubElement(serial, "target", {"port": "0"})
    console = ET.SubElement(devices, "console", {"type": "pty"})
    ET.SubElement(console, "target", {"type": "serial", "port": "0"})
    channel = ET.SubElement(devices, "channel", {"type": "unix"})
    ET.SubElement(channel, "target", {"type": "virtio", "name": AGENT_CHANNEL})


def _display(devices: ET.Element, guest: GuestSpec, machine: Machine, password: str) -> None:
    graphics = ET.SubElement(
        devices, "graphics", {"type": "vnc", "autoport": "yes", "passwd": password, "sharePolicy": "force-shared"}
    )
    ET.SubElement(graphics, "listen", {"type": "address", "address": machine.address})
    video = ET.SubElement(devices, "video")
    ET.SubElement(video, "model", {"type": "vga" if _x86(guest) else "virtio"})


def _small_devices(devices: ET.Element) -> None:
    # A USB controller costs the host a timer for each guest, and nothing is on it.
    ET.SubElement(devices, "controller", {"type": "usb", "model": "none"})
    ET.SubElement(devices, "input", {"type": "tablet", "bus": "virtio"})
    random = ET.SubElement(devices, "rng", {"model": "virtio"})
    ET.SubElement(random, "backend", {"model": "random"}).text = "/dev/urandom"
    balloon = ET.SubElement(devices, "memballoon", {"model": "virtio", "freePageReporting": "on"})
    ET.SubElement(balloon, "stats", {"period": str(STATS_PERIOD)})


VIRTIO = {"virtio", "virtio-scsi"}
"""Models of elements right below `devices` that are devices on the PCI bus."""


CONVENTIONAL = {"e1000", "rtl8139"}
"""Models of network interfaces that are devices of conventional PCI."""


def _ports(devices: ET.Element) -> None:
    """Give each device a port of the PCI bus, and some to spare: libvirt by itself leaves one, and none can be added
    while the guest runs."""
    taken = len(devices.findall("interface"))
    taken += sum(target.get("bus") == "virtio" for target in devices.findall("disk/target"))
    taken += sum(each.get("model") in VIRTIO or each.get("bus") == "virtio" for each in devices)
    taken += sum(each.get("model") == "virtio" for each in devices.findall("video/model"))
    taken += 1  # what all channels are on
    ports = [ET.Element("controller", {"type": "pci", "model": "pcie-root-port"}) for _ in range(taken + SPARE_PORTS)]
    if any(model.get("type") in CONVENTIONAL for model in devices.findall("interface/model")):
        # Those are no devices of PCI Express, and can be attached behind this one only.
        ports.append(ET.Element("controller", {"type": "pci", "model": "pcie-to-pci-bridge"}))
    # The root itself has to stand first, else libvirt takes the first port for it.
    devices[:0] = [ET.Element("controller", {"type": "pci", "index": "0", "model": "pcie-root"}), *ports]
