from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from agent.drivers.driver import Secrets
from agent.drivers.libvirt import guest_metadata
from agent.drivers.libvirt.instance_files import HostFiles
from agent.host.metadata import metadata
from domain.guest_spec import ImageRef
from tests.agent.samples import a_guest

IMAGE = ImageRef(id="i-1", name="tiny", checksum="ab" * 32, format="qcow2", size=1, virtual_size=1)
GUEST = a_guest(IMAGE, public_key="ssh-ed25519 AAAA me", config_drive=False)
ADDRESS = GUEST.nics[0].ip

Client = Callable[[str], httpx.AsyncClient]


@pytest.fixture
def client(tmp_path: Path) -> Client:
    files = HostFiles(tmp_path)
    files.make()
    files.instance(GUEST.id).make()
    found = guest_metadata.documents(GUEST, Secrets(password="geheim", user_data="#!/bin/sh\n"), 1500)
    guest_metadata.keep(files.instance(GUEST.id).told, found)
    files.give_address(ADDRESS, GUEST.id)
    app = metadata(tmp_path)

    def by(address: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=app, client=(address, 1024))
        return httpx.AsyncClient(transport=transport, base_url="http://169.254.169.254")

    return by


async def test_a_guest_is_known_by_its_address(client: Client) -> None:
    async with client(ADDRESS) as guest:
        meta = (await guest.get("/openstack/latest/meta_data.json")).json()
        assert (meta["uuid"], meta["admin_pass"]) == (GUEST.id, "geheim")
        assert (await guest.get("/openstack/latest/user_data")).text == "#!/bin/sh\n"
        assert "links" in (await guest.get("/openstack/latest/network_data.json")).json()
        assert (await guest.get("/latest/meta-data/hostname")).text == "web-1"
        assert (await guest.get("/latest/meta-data/public-keys/0/openssh-key")).text == "ssh-ed25519 AAAA me"
        assert (await guest.get("/latest/user-data")).text == "#!/bin/sh\n"
        assert "hostname" in (await guest.get("/latest/meta-data/")).text
        assert (await guest.get("/openstack")).text == "latest"


@pytest.mark.parametrize("address", ["10.99.0.1", "::1", "nonsense", "../x"])
async def test_a_stranger_is_told_nothing(client: Client, address: str) -> None:
    async with client(address) as stranger:
        for path in ("/openstack/latest/meta_data.json", "/latest/meta-data/hostname", "/latest/user-data"):
            assert (await stranger.get(path)).status_code == 404


@pytest.mark.parametrize("name", ["vendor_data.json", "..%2f..%2faddresses", "meta_data.json.new"])
async def test_only_the_documents_are_given(client: Client, name: str) -> None:
    async with client(ADDRESS) as guest:
        assert (await guest.get(f"/openstack/latest/{name}")).status_code == 404
        assert (await guest.get(f"/latest/meta-data/{name}")).status_code == 404
