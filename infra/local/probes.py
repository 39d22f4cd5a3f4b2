"""Questions to the parts of a cluster that runs: whether they answer, and what the API says of the rest."""

import json
import socket
import urllib.error
import urllib.request

from infra.local.server import LOOPBACK

API_PORT, API_HOSTS_PORT = 7480, 7481


def durability() -> str:
    """Return a sentence on how durable the log is; empty where the API does not know."""
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{API_PORT}/readyz", timeout=10) as answer:
            found = json.load(answer)["durability"]
    except (urllib.error.URLError, OSError):
        return ""
    return str(found["summary"]) if found else ""


def api_ready() -> bool:
    """Return whether the API answers, and says that it is ready."""
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{API_PORT}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def hosts_up() -> int:
    """Return how many hosts are registered and up, by the API's word; 0 where it does not answer."""
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{API_PORT}/v1/hosts?limit=1000", timeout=2) as answer:
            return sum(host["health"] == "up" for host in json.load(answer)["hosts"])
    except (urllib.error.URLError, OSError):
        return 0


def listens(address: str, port: int) -> bool:
    """Return whether something listens at an address and port."""
    try:
        socket.create_connection((address, port), 1).close()
    except OSError:
        return False
    return True
