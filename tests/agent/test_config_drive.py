import io
import json
from pathlib import Path
from typing import Any

import pycdlib
import pytest

from agent.drivers.driver import Secrets
from agent.drivers.libvirt import config_drive, guest_metadata
from domain.guest_spec import ImageRef
from tests.agent.samples import a_guest

IMAGE = ImageRef(id="i-1", name="tiny", checksum="ab" * 32, format="qcow2", size=1, virtual_size=1)
SECRETS = Secrets(password="geheim", user_data="#!/bin/sh\necho hello\n")
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


def test_nothing_is_made_up_for_a_guest_without_secrets() -> None:
    found = guest_metadata.documents(a_guest(IMAGE), Secrets(), 1500)
    assert "user_data" not in found
    assert not {"admin_pass", "public_keys"} & set(json.loads(found["meta_data.json"]))


def test_what_is_kept_for_the_service_is_replaced_as_a_whole(tmp_path: Path) -> None:
    told = tmp_path / "metadata"
    guest_metadata.keep(told, DOCUMENTS)
    guest_metadata.keep(told, guest_metadata.documents(GUEST, Secrets(), 1500))
    assert sorted(path.name for path in told.iterdir()) == ["meta_data.json", "network_data.json"]
    assert all(path.stat().st_mode & 0o077 == 0 for path in told.iterdir())


def test_secrets_are_not_shown_by_accident() -> None:
    assert "geheim" not in repr(SECRETS)
