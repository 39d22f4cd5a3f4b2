"""User data on its way from the API to a guest's drive and the metadata service: byte by byte, text or not."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.policy import SMTP
from pathlib import Path

import aiohttp
import pytest
import uvicorn

from agent.compose import secrets_from
from agent.drivers.driver import Secrets
from agent.drivers.libvirt import config_drive, guest_metadata
from agent.drivers.libvirt.instance_files import HostFiles
from agent.drivers.simulated.guest import SimulatedGuest, kept_form
from api.hosts.agent_api import create_internal_app
from tests.agent.test_metadata import GUEST, client_of
from tests.api.api import TOKEN, Api, serving

MULTIPART = MIMEMultipart(boundary="part")
"""Parts that are told apart by lines that end with carriage return and line feed."""
for part in (MIMEText("#cloud-config\n{}\n", "cloud-config"), MIMEText("#!/bin/sh\r\n", "x-shellscript", "utf-8")):
    MULTIPART.attach(part)
CONTENTS = [
    b"#!/bin/sh\r\necho\r\n",
    "#cloud-config\n# grüezi\n".encode(),
    b"\x1f\x8b\x08\0\xff\xfe",
    bytes(range(256)) * 256,
    MULTIPART.as_bytes(policy=SMTP),
    gzip.compress(MULTIPART.as_bytes(policy=SMTP), mtime=0),
]


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path) as running:
        yield running


@pytest.mark.parametrize("content", CONTENTS)
async def test_it_is_the_same_for_the_guest(api: Api, tmp_path: Path, content: bytes) -> None:
    guest = GUEST.but(password_ref="p", user_data_ref="u")
    await api.services.secrets.put("p", guest.id, "pässword")
    await api.services.secrets.put_bytes("u", guest.id, content)
    config = uvicorn.Config(create_internal_app(api.services, TOKEN), port=0, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    server_socket = config.bind_socket()
    serving_it = asyncio.create_task(server.serve([server_socket]))
    try:
        url = f"http://127.0.0.1:{server_socket.getsockname()[1]}"
        async with aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {TOKEN}"}) as session:
            secrets = await secrets_from(session)(guest)
    finally:
        server.should_exit = True
        await serving_it
    assert (secrets.password, secrets.user_data) == ("pässword", content)
    documents = guest_metadata.documents(guest, secrets, 1500)
    config_drive.write(tmp_path / "drive", documents)
    assert config_drive.read(tmp_path / "drive")["user_data"] == content
    files = HostFiles(tmp_path / "host")
    files.make()
    files.instance(guest.id).make()
    guest_metadata.keep(files.instance(guest.id).told, documents)

    async def ask(segment: int, address: str, name: str) -> bytes | None:
        return guest_metadata.kept(files.instance(guest.id).told).get(name)

    async with client_of(ask)() as http:
        for path in ("/openstack/latest/user_data", "/latest/user-data"):
            assert (await http.get(path)).content == content
    assert guest_metadata.secrets_of(guest_metadata.kept(files.instance(guest.id).told)).user_data == content


def test_the_parts_end_their_lines_as_mail_does() -> None:
    assert MULTIPART.as_bytes(policy=SMTP).count(b"\r\n") > 10


def test_a_simulated_guest_keeps_it() -> None:
    for content in (*CONTENTS, b""):
        told = json.loads(json.dumps(kept_form(Secrets("p", content))))
        assert SimulatedGuest(told=told).secrets == Secrets("p", content)
    earlier = {"password": "p", "user_data": "grüezi"}
    assert SimulatedGuest(told=earlier).secrets == Secrets("p", "grüezi".encode())
    assert SimulatedGuest(user_data="grüezi").secrets == Secrets("", "grüezi".encode())
