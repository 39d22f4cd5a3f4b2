"""The documents by which a guest is told about itself, in the form of OpenStack's metadata.

Why that form: every cloud image has cloud-init or the like, which reads it from a config drive or from the metadata
service, so images that run elsewhere run here.
"""

import json
import os
from collections.abc import Mapping
from ipaddress import IPv6Network
from pathlib import Path
from typing import Any

from agent.drivers.driver import Secrets
from agent.drivers.network.routes import Route, routes
from domain.core.ipv6 import Ipv6Mode
from domain.guest_spec import GuestSpec, Nic

META_DATA = "meta_data.json"
NETWORK_DATA = "network_data.json"
USER_DATA = "user_data"
VENDOR_DATA = "vendor_data.json"
VENDOR_DATA2 = "vendor_data2.json"
NAMES = (META_DATA, NETWORK_DATA, USER_DATA, VENDOR_DATA, VENDOR_DATA2)
IPV6_TYPES = {Ipv6Mode.SLAAC: "ipv6_slaac", Ipv6Mode.DHCPV6: "ipv6_dhcpv6-stateful"}
"""How guests learn their IPv6 addresses -> what OpenStack calls that."""
CLOUD_INIT = "cloud-init"
"""Name of the part of vendor data that cloud-init takes: its configuration or a script, or a list of them."""
OF_OPERATOR = "static"
"""Under which name of the second form of vendor data the operator's stands, as OpenStack has it."""


def documents(
    guest: GuestSpec, secrets: Secrets, mtu: int, vendor: Mapping[str, Any] | None = None
) -> dict[str, bytes]:
    """Document name -> content, of all that `openstack/latest/` has.

    `mtu`: bytes of the guest's networks; `vendor`: the operator's vendor data, for all guests; None: there is none.
    """
    found = {META_DATA: _json(_meta_data(guest, secrets)), NETWORK_DATA: _json(_network_data(guest, mtu))}
    if secrets.user_data:
        found[USER_DATA] = secrets.user_data
    if vendor is not None or secrets.password:
        found[VENDOR_DATA] = _compact(_with_password(vendor or {}, secrets.password))
    if vendor is not None:
        found[VENDOR_DATA2] = _compact({OF_OPERATOR: vendor})
    return found


def keep(directory: Path, found: dict[str, bytes]) -> None:
    """Keep the documents for the metadata service, for its eyes only. Raises OSError."""
    directory.mkdir(mode=0o700, exist_ok=True)
    for name in NAMES:
        if name not in found:
            (directory / name).unlink(missing_ok=True)
            continue
        fresh = directory / f"{name}.new"
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(found[name])
        fresh.replace(directory / name)


def keep_secrets(directory: Path, secrets: Secrets) -> None:
    """Keep what the guest was told on the host before, until all documents are written. Raises OSError."""
    found = {META_DATA: _json({"admin_pass": secrets.password} if secrets.password else {})}
    keep(directory, found | ({USER_DATA: secrets.user_data} if secrets.user_data else {}))


def kept(directory: Path) -> dict[str, bytes]:
    """Read the documents that were kept for the metadata service; none where nothing was. Raises OSError."""
    return {name: (directory / name).read_bytes() for name in NAMES if (directory / name).exists()}


def secrets_of(found: dict[str, bytes]) -> Secrets:
    """Tell the secrets that stand in these documents."""
    meta = json.loads(found.get(META_DATA, b"{}"))
    return Secrets(password=meta.get("admin_pass", ""), user_data=found.get(USER_DATA, b""))


def _meta_data(guest: GuestSpec, secrets: Secrets) -> dict[str, object]:
    meta: dict[str, object] = {
        "uuid": guest.id,
        "name": guest.name,
        "hostname": guest.hostname,
        "local_hostname": guest.hostname,
        "project_id": guest.project,
        "launch_index": guest.launch_index,
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
    links = [
        {"id": f"nic{index}", "vif_id": nic.port_id, "type": "bridge", "ethernet_mac_address": nic.mac, "mtu": mtu}
        for index, nic in enumerate(guest.nics)
    ]
    networks = [
        {
            "id": f"network{index}",
            "network_id": nic.network_id,
            "link": f"nic{index}",
            "type": "ipv4_dhcp",
            "routes": [_route(route) for route in routes(nic.gateway)],
            "services": _name_servers(nic),
        }
        for index, nic in enumerate(guest.nics)
    ]
    networks += [
        {
            "id": f"network{index}-ipv6",
            "network_id": nic.network_id,
            "link": f"nic{index}",
            "type": IPV6_TYPES[nic.ipv6_mode],
            "ip_address": nic.ip6,
            "netmask": str(IPv6Network(nic.cidr6).netmask),
            "routes": [],
            "services": [],
        }
        for index, nic in enumerate(guest.nics)
        if nic.ip6
    ]
    # All name servers once more in one place: some readers look there alone.
    services = {each["address"]: each for nic in guest.nics for each in _name_servers(nic)}
    return {"links": links, "networks": networks, "services": list(services.values())}


def _route(route: Route) -> dict[str, str]:
    return {
        "network": str(route.to.network_address),
        "netmask": str(route.to.netmask),
        "gateway": route.gateway,
    }


def _name_servers(nic: Nic) -> list[dict[str, str]]:
    """The network's own, at its gateway; none where that is not known."""
    return [{"type": "dns", "address": nic.gateway}] if nic.gateway else []


def _with_password(vendor: Mapping[str, Any], password: str) -> dict[str, Any]:
    """The operator's vendor data, by which cloud-init gives the image's own user the password, too: of `admin_pass` it
    takes no notice."""
    if not password:
        return dict(vendor)
    config = {"password": password, "chpasswd": {"expire": False}}
    own = f"#cloud-config\n{json.dumps(config)}\n"
    others = vendor.get(CLOUD_INIT) or []
    # The later ones win: the operator's.
    parts = [own, *([others] if isinstance(others, str) else others)]
    return {**vendor, CLOUD_INIT: parts if len(parts) > 1 else own}


def _json(value: object) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode()


def _compact(value: object) -> bytes:
    # The operator's may be deep: indented, it would grow by its depth for each line.
    return json.dumps(value, ensure_ascii=False).encode()
