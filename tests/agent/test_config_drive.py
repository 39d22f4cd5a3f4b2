import io
import json
from pathlib import Path
from typing import Any

import pycdlib
import pytest

from agent.drivers.driver import Secrets
from agent.drivers.libvirt import config_drive, guest_metadata
from agent.drivers.network.routes import routes
from domain.core.ipv6 import Ipv6Mode
from domain.guest_spec import ImageRef, Nic
from tests.agent.samples import a_guest, a_nic

IMAGE = ImageRef(id="i-1", name="tiny", checksum="ab" * 32, format="qcow2", size=1, virtual_size=1)
SECRETS = Secrets(password="geheim", user_data=b"#!/bin/sh\necho hello\n")
GUEST = a_guest(IMAGE, metadata={"role": "wéb"}, key_name="laptop", public_key="ssh-ed25519 AAAA me")
DOCUMENTS = guest_metadata.documents(GUEST, SECRETS, 1450)


def read(drive: Path, **path: str) -> bytes:
    iso = pycdlib.PyCdlib()
    iso.open(str(drive))
    found = io.BytesIO()
    iso.get_file_from_iso_fp(found, **path)
    iso.close()
    return found.getvalue()


@pytest.mark.parametrize("names", ["rr_path", "joliet_path"])
def test_a_drive_has_the_documents_by_their_names_on_any_system(tmp_path: Path, names: str) -> None:
    drive = tmp_path / "config.iso"
    config_drive.write(drive, DOCUMENTS)
    for name, content in DOCUMENTS.items():
        assert read(drive, **{names: f"/openstack/latest/{name}"}) == content
    assert drive.read_bytes()[32768 + 40 : 32768 + 48] == b"config-2"


def test_what_stands_on_a_drive_can_be_read_back(tmp_path: Path) -> None:
    drive = tmp_path / "config.iso"
    config_drive.write(drive, DOCUMENTS)
    assert config_drive.read(drive) == DOCUMENTS
    assert guest_metadata.secrets_of(config_drive.read(drive)) == SECRETS


def test_what_is_kept_for_the_metadata_service_can_be_read_back(tmp_path: Path) -> None:
    assert guest_metadata.secrets_of(guest_metadata.kept(tmp_path / "told")) == Secrets()
    guest_metadata.keep(tmp_path / "told", DOCUMENTS)
    assert guest_metadata.kept(tmp_path / "told") == DOCUMENTS


def test_a_drive_is_not_for_others_to_read(tmp_path: Path) -> None:
    drive = tmp_path / "config.iso"
    config_drive.write(drive, DOCUMENTS)
    assert drive.stat().st_mode & 0o077 == 0
    assert list(tmp_path.iterdir()) == [drive]


def test_a_guest_is_told_who_it_is() -> None:
    meta = json.loads(DOCUMENTS["meta_data.json"])
    assert meta["uuid"] == GUEST.id
    assert (meta["name"], meta["hostname"], meta["project_id"]) == ("web 1", "web-1", "p-1")
    assert meta["admin_pass"] == "geheim"
    assert meta["public_keys"] == {"laptop": "ssh-ed25519 AAAA me"}
    assert meta["meta"] == {"role": "wéb"}
    network: dict[str, Any] = json.loads(DOCUMENTS["network_data.json"])
    assert network["links"][0]["ethernet_mac_address"] == GUEST.nics[0].mac
    assert network["networks"][0]["type"] == "ipv4_dhcp"


def test_a_guest_is_told_of_each_network_and_by_dhcp_alike() -> None:
    nics = (a_nic(10), a_nic(11, "7f1c1f0a-3c7e-4b8a-9d53-0a1b2c3d4e5f", "10.43.0.1", 2))
    found = json.loads(guest_metadata.documents(a_guest(IMAGE, nics), Secrets(), 1450)["network_data.json"])
    assert [(each["ethernet_mac_address"], each["mtu"]) for each in found["links"]] == [(nic.mac, 1450) for nic in nics]
    for nic, link, network in zip(nics, found["links"], found["networks"], strict=True):
        assert (network["link"], network["network_id"], network["type"]) == (link["id"], nic.network_id, "ipv4_dhcp")
        assert network["services"] == [{"type": "dns", "address": nic.gateway}]
        assert network["routes"] == [
            {"network": "169.254.169.254", "netmask": "255.255.255.255", "gateway": nic.gateway}
        ], "there is no way out, and so no default route"
    assert [each["address"] for each in found["services"]] == ["10.41.0.1", "10.43.0.1"]
    unbound = guest_metadata.documents(a_guest(IMAGE, (Nic(network_id="n"),)), Secrets(), 1450)["network_data.json"]
    assert json.loads(unbound)["networks"][0]["routes"] == json.loads(unbound)["services"] == []


@pytest.mark.parametrize(("mode", "kind"), [("slaac", "ipv6_slaac"), ("dhcpv6", "ipv6_dhcpv6-stateful")])
def test_a_guest_is_told_how_it_learns_its_ipv6_address(mode: str, kind: str) -> None:
    nics = (a_nic(10), a_nic(11, "7f1c1f0a-3c7e-4b8a-9d53-0a1b2c3d4e5f", "10.43.0.1", 2))
    six = nics[1].but(cidr6="fd00:1::/64", ipv6_mode=Ipv6Mode(mode))
    guest = a_guest(IMAGE, (nics[0], six))
    found = json.loads(guest_metadata.documents(guest, Secrets(), 1450)["network_data.json"])
    assert [each["type"] for each in found["networks"]] == ["ipv4_dhcp", "ipv4_dhcp", kind]
    last = found["networks"][2]
    assert (last["link"], last["network_id"]) == ("nic1", six.network_id)
    assert (last["ip_address"], last["netmask"]) == ("fd00:1::5054:ff:fe00:b", "ffff:ffff:ffff:ffff::")
    assert last["routes"] == [], "there is no way out by IPv6"


def test_a_network_that_leads_out_has_a_default_route() -> None:
    assert [str(route.to) for route in routes("10.41.0.1", leads_out=True)] == ["169.254.169.254/32", "0.0.0.0/0"]
    assert routes("", leads_out=True) == ()


def test_cloud_init_is_given_the_password_and_the_operators_configuration_after_it() -> None:
    def told(secrets: Secrets, vendor: dict[str, Any] | None) -> Any:
        found = guest_metadata.documents(GUEST, secrets, 1450, vendor).get("vendor_data.json")
        return found and json.loads(found)

    own = '#cloud-config\n{"password": "geheim", "chpasswd": {"expire": false}}\n'
    assert told(SECRETS, None) == {"cloud-init": own}
    assert told(SECRETS, {"region": "east"}) == {"region": "east", "cloud-init": own}
    assert told(SECRETS, {"cloud-init": "#!/bin/sh\n"}) == {"cloud-init": [own, "#!/bin/sh\n"]}
    assert told(SECRETS, {"cloud-init": ["#!/bin/sh\n", "#cloud-config\n"]})["cloud-init"][1:] == [
        "#!/bin/sh\n",
        "#cloud-config\n",
    ]
    assert told(Secrets(), None) is None
    assert told(Secrets(), {"cloud-init": "#!/bin/sh\n"}) == {"cloud-init": "#!/bin/sh\n"}


def test_nothing_is_made_up_for_a_guest_without_secrets() -> None:
    found = guest_metadata.documents(a_guest(IMAGE), Secrets(), 1500)
    assert list(found) == ["meta_data.json", "network_data.json"]
    assert not {"admin_pass", "public_keys"} & set(json.loads(found["meta_data.json"]))


def test_what_is_kept_for_the_service_is_replaced_as_a_whole(tmp_path: Path) -> None:
    told = tmp_path / "metadata"
    guest_metadata.keep(told, DOCUMENTS)
    guest_metadata.keep(told, guest_metadata.documents(GUEST, Secrets(), 1500))
    assert sorted(path.name for path in told.iterdir()) == ["meta_data.json", "network_data.json"]
    assert all(path.stat().st_mode & 0o077 == 0 for path in told.iterdir())


def test_secrets_are_not_shown_by_accident() -> None:
    assert "geheim" not in repr(SECRETS)
