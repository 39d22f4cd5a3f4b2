"""The documents by which a guest is told about itself, in the form of OpenStack's metadata.

Why that form: every cloud image has cloud-init or the like, which reads it from a config drive or from the metadata
service, so images that run elsewhere run here.
"""

import json
import os
from pathlib import Path

from agent.drivers.driver import Secrets
from domain.guest_spec import GuestSpec

META_DATA = "meta_data.json"
NETWORK_DATA = "network_data.json"
USER_DATA = "user_data"


def documents(guest: GuestSpec, secrets: Secrets, mtu: int) -> dict[str, bytes]:
    """Document name -> content, of all that `openstack/latest/` has. `mtu`: bytes of the guest's networks."""
    found = {META_DATA: _json(_meta_data(guest, secrets)), NETWORK_DATA: _json(_network_data(guest, mtu))}
    if secrets.user_data:
        found[USER_DATA] = secrets.user_data.encode()
    return found


def keep(directory: Path, found: dict[str, bytes]) -> None:
    """Keep the documents for the metadata service, for its eyes only. Raises OSError."""
    directory.mkdir(mode=0o700, exist_ok=True)
    for name in (META_DATA, NETWORK_DATA, USER_DATA):
        if name not in found:
            (directory / name).unlink(missing_ok=True)
            continue
        fresh = directory / f"{name}.new"
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(found[name])
        fresh.replace(directory / name)


def keep_user_data(directory: Path, user_data: str) -> None:
    """Keep what came from the guest's host before, until all documents are written. Raises OSError."""
    keep(directory, {USER_DATA: user_data.encode()})


def kept(directory: Path) -> dict[str, bytes]:
    """Read the documents that were kept for the metadata service; none where nothing was. Raises OSError."""
    names = (META_DATA, NETWORK_DATA, USER_DATA)
    return {name: (directory / name).read_bytes() for name in names if (directory / name).exists()}


def secrets_of(found: dict[str, bytes]) -> Secrets:
    """Tell the secrets that stand in these documents."""
    meta = json.loads(found.get(META_DATA, b"{}"))
    return Secrets(password=meta.get("admin_pass", ""), user_data=found.get(USER_DATA, b"").decode())


def without_password(found: dict[str, bytes]) -> dict[str, bytes]:
    """The documents for a guest that has a config drive: only its root can read that, the service any user of it."""
    meta = json.loads(found[META_DATA])
    meta.pop("admin_pass", None)
    return {**found, META_DATA: _json(meta)}


def _meta_data(guest: GuestSpec, secrets: Secrets) -> dict[str, object]:
    meta: dict[str, object] = {
        "uuid": guest.id,
        "name": guest.name,
        "hostname": guest.hostname,
        "local_hostname": guest.hostname,
        "project_id": guest.project,
        "launch_index": 0,
        "meta": guest.metadata,
        "devices": [],
    }
    if guest.public_key:
        name = guest.key_name or "default"
        meta["public_keys"] = {name: guest.public_key}
        meta["keys"] = [{"name": name, "type": "ssh", "data": guest.public_key}]
    if secrets.password:
        meta["admin_pass"] = secrets.password
    return meta


def _network_data(guest: GuestSpec, mtu: int) -> dict[str, object]:
    links, networks = [], []
    for index, nic in enumerate(guest.nics):
        link = {
            "id": f"nic{index}",
            "vif_id": nic.port_id,
            "type": "bridge",
            "ethernet_mac_address": nic.mac,
            "mtu": mtu,
        }
        links.append(link)
        networks.append(
            {"id": f"network{index}", "network_id": nic.network_id, "link": link["id"], "type": "ipv4_dhcp"}
        )
    return {"links": links, "networks": networks, "services": []}


def _json(value: object) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode()
