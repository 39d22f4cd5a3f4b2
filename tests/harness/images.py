"""Images by way of the API, for tests that speak HTTP to processes of their own."""

import struct
import time
from typing import Any

import httpx

PATIENCE = 60.0
CLUSTER = 1 << 16


def qcow2(virtual_size: int) -> bytes:
    """A qcow2 file with nothing in it: a header and tables, a cluster each."""
    entries = -(-virtual_size // (CLUSTER * CLUSTER // 8))
    fields = (b"QFI\xfb", 3, 0, 0, 16, virtual_size, 0, entries, 3 * CLUSTER, CLUSTER, 1, 0, 0)
    head = struct.pack(">4sIQIIQIIQQIIQ", *fields) + struct.pack(">QQQII", 0, 0, 0, 4, 104)
    return head.ljust(4 * CLUSTER, b"\0")


def upload(http: httpx.Client, name: str, content: bytes, **more: Any) -> dict[str, Any]:
    """An active image of these bytes; the client's base URL ends in /v1."""
    made = http.post("/images", json={"name": name, **more}).raise_for_status().json()
    params = {"offset": 0, "size": len(content)}
    http.patch(f"/images/{made['id']}/file", content=content, params=params).raise_for_status()
    return active(http, made["id"])


def active(http: httpx.Client, image_id: str) -> dict[str, Any]:
    """The image once it is active."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        image: dict[str, Any] = http.get(f"/images/{image_id}").raise_for_status().json()
        assert image["status"] != "failed", image["failure"]
        if image["status"] == "active":
            return image
        time.sleep(0.05)
    raise AssertionError(f"image {image_id} is still {image['status']}")
