"""The metadata service: gives a guest its name, keys and user data, at the address that every cloud image asks.

Why the guest is known by its source address: a guest has no other name yet. The host gave it that address, networks on
one host never overlap, and the answer holds no password where the guest was given a config drive to read it from.
"""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse

from agent.drivers import host_command
from agent.drivers.driver import DriverError
from agent.drivers.libvirt.guest_metadata import META_DATA, NETWORK_DATA, USER_DATA
from agent.drivers.libvirt.instance_files import HostFiles
from agent.drivers.network.firewall import METADATA_ADDRESS

PORT = 80
BACKLOG = 128
VERSIONS = "latest"
DOCUMENTS = {META_DATA: "application/json", NETWORK_DATA: "application/json", USER_DATA: "text/plain"}
EC2: dict[str, Callable[[dict[str, Any]], str]] = {
    "instance-id": lambda meta: meta["uuid"],
    "hostname": lambda meta: meta["hostname"],
    "local-hostname": lambda meta: meta["hostname"],
    "public-keys/0/openssh-key": lambda meta: next(iter(meta.get("public_keys", {}).values()), ""),
}
"""Paths of Amazon's form of the metadata, which is all that some images read."""


def metadata(state: Path) -> FastAPI:
    """Make the HTTP application; `state` is the host's directory, in which the driver keeps its files."""
    files = HostFiles(state.absolute())
    app = FastAPI(title="GoStack metadata", docs_url=None, redoc_url=None, openapi_url=None)

    def guest_file(request: Request, name: str) -> bytes | None:
        try:
            instance_id = files.owner(request.client.host if request.client else "")
            return (files.instance(instance_id).told / name).read_bytes() if instance_id else None
        except (FileNotFoundError, ValueError):
            return None

    @app.get("/openstack")
    @app.get("/openstack/")
    def versions() -> PlainTextResponse:
        return PlainTextResponse(VERSIONS)

    @app.get("/openstack/latest/{name}")
    def document(request: Request, name: str) -> Response:
        found = guest_file(request, name) if name in DOCUMENTS else None
        return _nothing() if found is None else Response(found, media_type=DOCUMENTS[name])

    @app.get("/latest/meta-data/")
    def names() -> PlainTextResponse:
        return PlainTextResponse("\n".join(sorted(EC2)))

    @app.get("/latest/meta-data/{name:path}")
    def value(request: Request, name: str) -> Response:
        found = guest_file(request, META_DATA) if name in EC2 else None
        return _nothing() if found is None else PlainTextResponse(EC2[name](json.loads(found)))

    @app.get("/latest/user-data")
    def user_data(request: Request) -> Response:
        found = guest_file(request, USER_DATA)
        return _nothing() if found is None else PlainTextResponse(found)

    return app


def listen() -> socket.socket | None:
    """Open the socket to serve on; return None where this host cannot have the address (no right to it, or another
    process has it)."""
    try:
        host_command.run("ip", "address", "replace", f"{METADATA_ADDRESS}/32", "dev", "lo")
    except DriverError:
        return None
    opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((METADATA_ADDRESS, PORT))
        opened.listen(BACKLOG)
    except OSError:
        opened.close()
        return None
    return opened


def _nothing() -> PlainTextResponse:
    return PlainTextResponse("", 404)
