from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from agent.drivers.libvirt import xml
from agent.drivers.libvirt.instance_files import InstanceFiles
from agent.drivers.libvirt.xml import Machine
from agent.drivers.storage.files import FileVolumes
from agent.drivers.storage.store import DiskSource
from domain.guest_spec import AttachedVolume, GuestSpec, ImageRef
from tests.agent.samples import a_guest, a_nic

IMAGE = ImageRef(id="i-1", name="tiny", checksum="ab" * 32, format="qcow2", size=1, virtual_size=1)
FILES = InstanceFiles(Path("/state/instances/x"))
BACKING = Path("/state/cache") / IMAGE.checksum
OWN = FileVolumes(Path("/state/volumes"))
EMULATED = Machine(kvm=False, address="192.0.2.7", mtu=1450)


def xml_of(guest: GuestSpec, machine: Machine = EMULATED) -> ET.Element:
    return ET.fromstring(xml.domain_xml(guest, FILES, cached, sources(guest), machine, "secret42"))


def sources(guest: GuestSpec) -> dict[str, DiskSource]:
    return {each.id: OWN.disk(each.id) for each in guest.volumes}


def cached(image: ImageRef) -> Path:
    return BACKING.with_name(image.checksum)


def attributes(root: ET.Element, path: str) -> dict[str, str]:
    found = root.find(path)
    assert found is not None, path
    return dict(found.attrib)


def test_a_guest_knows_in_which_form_its_metadata_comes() -> None:
    root = xml_of(a_guest(IMAGE))
    assert attributes(root, "os/smbios") == {"mode": "sysinfo"}
    assert root.findtext("sysinfo/system/entry[@name='product']") == "OpenStack Compute"
    assert xml_of(a_guest(IMAGE.but(arch="aarch64"))).find("sysinfo") is None


def test_a_guest_is_named_after_its_instance() -> None:
    guest = a_guest(IMAGE)
    root = xml_of(guest)
    assert root.get("type") == "qemu"
    assert root.findtext("name") == f"gs-{guest.id}"
    assert root.findtext("uuid") == guest.id
    assert root.findtext("title") == "web 1"
    assert attributes(root, f"metadata/{{{xml.NAMESPACE}}}instance")["project"] == "p-1"


def test_what_a_user_wrote_is_text_and_never_markup() -> None:
    root = xml_of(a_guest(IMAGE, name='</title><devices> & "x"\n\x00'))
    assert root.findtext("title") == '</title><devices> & "x"'
    assert len(root.findall("devices")) == 1


def test_its_size_is_its_flavors() -> None:
    root = xml_of(a_guest(IMAGE, core=3, memory=512 << 20))
    assert root.findtext("vcpu") == "3"
    assert root.findtext("memory") == str(512 << 10)
    assert attributes(root, "memory") == {"unit": "KiB"}
    assert root.find("cpu/topology") is None


def test_a_strict_flavor_is_one_socket_with_its_cores() -> None:
    root = xml_of(a_guest(IMAGE, core=4, mode="strict"))
    assert attributes(root, "cpu/topology") == {"sockets": "1", "dies": "1", "cores": "4", "threads": "1"}


@pytest.mark.parametrize(("kvm", "kind", "cpu"), [(True, "kvm", "host-passthrough"), (False, "qemu", "maximum")])
def test_the_host_decides_what_runs_it(kvm: bool, kind: str, cpu: str) -> None:
    root = xml_of(a_guest(IMAGE), Machine(kvm=kvm, address="127.0.0.1", mtu=1500))
    assert root.get("type") == kind
    assert attributes(root, "cpu")["mode"] == cpu


def test_its_disk_lies_over_the_image_whose_owner_stays() -> None:
    root = xml_of(a_guest(IMAGE))
    assert attributes(root, "devices/disk[@device='disk']/source") == {"file": "/state/instances/x/disk.qcow2"}
    assert attributes(root, "devices/disk/driver")["discard"] == "unmap"
    assert attributes(root, "devices/disk/backingStore/source") == {"file": str(BACKING)}
    assert attributes(root, "devices/disk/backingStore/source/seclabel")["relabel"] == "no"


def test_a_rescued_guest_boots_from_its_rescue_disk_and_has_its_own_second() -> None:
    other = IMAGE.but(checksum="cd" * 32, format="raw")
    first, second = xml_of(a_guest(IMAGE, rescue_image=other)).findall("devices/disk[@device='disk']")
    assert attributes(first, "target")["dev"] == "vda"
    assert attributes(first, "source") == {"file": "/state/instances/x/rescue.qcow2"}
    assert attributes(first, "backingStore/source") == {"file": str(BACKING.with_name("cd" * 32))}
    assert attributes(first, "backingStore/format") == {"type": "raw"}
    assert attributes(second, "target")["dev"] == "vdb"
    assert attributes(second, "source") == {"file": "/state/instances/x/disk.qcow2"}


def test_a_config_drive_is_there_only_where_it_is_wanted() -> None:
    drive = "devices/disk[@device='cdrom']/source"
    assert attributes(xml_of(a_guest(IMAGE)), drive) == {"file": "/state/instances/x/config.iso"}
    assert xml_of(a_guest(IMAGE, config_drive=False)).find(drive) is None


def test_a_nic_has_its_address_its_packet_size_and_its_queues() -> None:
    root = xml_of(a_guest(IMAGE, (a_nic(10), a_nic(11)), multi_queue=2))
    first, second = root.findall("devices/interface")
    assert attributes(first, "mac") == {"address": "52:54:00:00:00:0a"}
    assert attributes(second, "mac") == {"address": "52:54:00:00:00:0b"}
    assert attributes(first, "source") == {"bridge": "gsb-1"}
    assert attributes(first, "target") == {"dev": "gst-000001-000a"}
    assert attributes(first, "mtu") == {"size": "1450"}
    assert attributes(first, "driver") == {"queues": "2"}
    assert xml_of(a_guest(IMAGE)).find("devices/interface/driver") is None


def test_its_display_is_never_without_a_password() -> None:
    root = xml_of(a_guest(IMAGE))
    assert attributes(root, "devices/graphics")["passwd"] == "secret42"
    assert attributes(root, "devices/graphics/listen") == {"type": "address", "address": "192.0.2.7"}


def test_its_console_is_kept_in_a_file() -> None:
    assert attributes(xml_of(a_guest(IMAGE)), "devices/serial/log") == {
        "file": "/state/instances/x/console.log",
        "append": "on",
    }


def test_volumes_are_disks_behind_the_others_and_are_found_by_their_serial_number() -> None:
    volumes = tuple(AttachedVolume(id=f"0c5f1a52-3b1e-4c58-9d0f-5a0de2a3f7b{number}", size=1) for number in (1, 2))
    assert volumes[0].serial == "0c5f1a523b1e4c589d0f"
    volumes = (volumes[0], AttachedVolume(id="1c5f1a52-3b1e-4c58-9d0f-5a0de2a3f7b1", size=1, read_only=True))
    guest = a_guest(IMAGE).but(volumes=volumes, rescue_image=IMAGE)
    root = xml_of(guest)
    disks = root.findall("devices/disk[@device='disk']")
    names = [target.get("dev") for disk in disks for target in disk.findall("target")]
    assert names == ["vda", "vdb", "vdc", "vdd"]
    assert [disk.findtext("serial") for disk in disks] == [None, None, *(volume.serial for volume in volumes)]
    assert [disk.find("readonly") is not None for disk in disks] == [False, False, False, True]
    text = ET.tostring(root, encoding="unicode")
    found = xml.disk_of(text, volumes[1].serial)
    assert found is not None
    assert attributes(ET.fromstring(f"<d>{found}</d>"), "disk/source") == {
        "file": f"/state/volumes/{volumes[1].id}.qcow2"
    }
    assert xml.disk_of(text, "another") is None
    added = ET.fromstring(f"<d>{xml.volume_xml(volumes[0], OWN.disk(volumes[0].id), EMULATED, text)}</d>")
    assert attributes(added, "disk/target") == {"dev": "vde", "bus": "virtio"}


def test_a_definition_tells_its_networks_and_whether_its_agent_listens() -> None:
    text = xml.domain_xml(a_guest(IMAGE), FILES, cached, {}, EMULATED, "p")
    assert xml.segments(text) == [1]
    assert not xml.agent_connected(text)
    running = text.replace('name="org.qemu.guest_agent.0"', 'name="org.qemu.guest_agent.0" state="connected"')
    assert xml.agent_connected(running)


@pytest.mark.parametrize("nics", [0, 1, 3])
def test_the_bus_has_a_port_for_each_device_and_some_to_spare(nics: int) -> None:
    controllers = xml_of(a_guest(IMAGE, tuple(map(a_nic, range(10, 10 + nics))))).findall("devices/controller")
    assert (controllers[0].get("index"), controllers[0].get("model")) == ("0", "pcie-root")
    ports = [each for each in controllers if each.get("model") == "pcie-root-port"]
    # Root disk, the config drive's controller, channels, tablet, random numbers and balloon.
    assert len(ports) == 6 + nics + xml.SPARE_PORTS


@pytest.mark.parametrize(
    ("bus", "name", "drive"), [("virtio", "vda", "sda"), ("scsi", "sda", "sdc"), ("sata", "sda", "sdc")]
)
def test_the_root_disk_is_on_the_bus_that_its_image_needs(bus: str, name: str, drive: str) -> None:
    root = xml_of(a_guest(IMAGE.but(properties={"hw_disk_bus": bus})))
    assert attributes(root, "devices/disk[@device='disk']/target") == {"dev": name, "bus": bus}
    assert attributes(root, "devices/disk[@device='cdrom']/target") == {"dev": drive, "bus": "scsi"}
    assert len(root.findall("devices/controller[@type='scsi']")) == 1


def test_what_a_rescue_image_needs_goes_before() -> None:
    own, rescue = (IMAGE.but(properties={"hw_disk_bus": bus}) for bus in ("sata", "scsi"))
    root = xml_of(a_guest(own, rescue_image=rescue))
    buses = [target.get("bus") for target in root.findall("devices/disk[@device='disk']/target")]
    assert buses == ["scsi", "scsi"]


@pytest.mark.parametrize("model", ["virtio", "e1000", "e1000e", "rtl8139"])
def test_interfaces_are_of_the_model_that_the_image_needs(model: str) -> None:
    guest = a_guest(IMAGE.but(properties={"hw_vif_model": model}), (a_nic(10),), multi_queue=2)
    root = xml_of(guest)
    assert attributes(root, "devices/interface/model") == {"type": model}
    assert (root.find("devices/interface/driver") is not None) == (model == "virtio")
    bridges = root.findall("devices/controller[@model='pcie-to-pci-bridge']")
    assert len(bridges) == (model in xml.CONVENTIONAL)
