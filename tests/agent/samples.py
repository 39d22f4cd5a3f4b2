"""Guests and images for the tests of what a host does."""

import hashlib
import subprocess
import uuid
from pathlib import Path
from typing import Any

from domain.guest_spec import FlavorRef, GuestSpec, ImageRef, Nic

NETWORK = "6f1c1f0a-3c7e-4b8a-9d53-0a1b2c3d4e5f"
GATEWAY = "10.41.0.1"
MEBI = 1 << 20


def an_image(store: Path, size: int = MEBI, name: str = "empty") -> ImageRef:
    """An image with nothing on it, in the store."""
    made = store / f"{name}.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(made), str(size)], check=True)
    # Names differ, and so must the files: an empty image is the same bytes each time.
    with made.open("ab") as file:
        file.write(name.encode())
    return in_store(store, made, name)


def in_store(store: Path, file: Path, name: str = "image") -> ImageRef:
    """The file as an image of the store."""
    content = file.read_bytes()
    checksum = hashlib.sha256(content).hexdigest()
    (store / checksum).write_bytes(content)
    return ImageRef(
        id=str(uuid.uuid4()), name=name, checksum=checksum, format="qcow2", size=len(content), virtual_size=MEBI
    )


def a_nic(number: int = 10, network: str = NETWORK, gateway: str = GATEWAY, segment: int = 1) -> Nic:
    """A NIC whose address ends with the number."""
    return Nic(
        network_id=network,
        port_id=str(uuid.uuid4()),
        ip=f"{gateway.rpartition('.')[0]}.{number}",
        prefix=24,
        mac=f"52:54:00:00:00:{number:02x}",
        gateway=gateway,
        segment=segment,
    )


def a_guest(image: ImageRef, nics: tuple[Nic, ...] | None = None, **fields: Any) -> GuestSpec:
    """A small guest. Fields of its flavor may be given among its own."""
    of_flavor = {name: fields.pop(name) for name in list(fields) if name in ("core", "memory", "mode", "multi_queue")}
    flavor: dict[str, Any] = {"id": "f-1", "name": "small", "core": 1, "memory": 128 * MEBI, **of_flavor}
    given: dict[str, Any] = {"id": str(uuid.uuid4()), "name": "web 1", "hostname": "web-1", "project": "p-1", **fields}
    return GuestSpec(
        flavor=FlavorRef(**flavor),
        image=image,
        disk=given.pop("disk", 8 * MEBI),
        nics=(a_nic(),) if nics is None else nics,
        **given,
    )
