"""The devices of a host that forward packets because guests have a way out, and for nothing else.

Why kept in a file: a device that forwarded before is somebody else's business, and one that does not forward but for
guests is switched off again, also by an agent that was started since. The kernel forgets it all at a restart of the
host, which is another boot.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from agent.drivers import whole_file

KEPT = "forwarding.json"
BOOT = Path("/proc/sys/kernel/random/boot_id")


class Forwarding:
    """The devices that forward for guests alone; every method raises OSError."""

    def __init__(self, directory: Path) -> None:
        """`directory`: of what the host keeps of its networks."""
        self._directory = directory

    def to_switch_on(self, devices: Iterable[str]) -> frozenset[str]:
        """Return those of these devices that forward for guests alone, or are to."""
        ours = self._ours()
        return frozenset(each for each in devices if each in ours or _switch(each).read_text().strip() == "0")

    def switch_on(self, devices: frozenset[str]) -> None:
        """Have these devices, and no others, forward for guests."""
        ours = self._ours()
        for each in ours - devices:
            if _switch(each).exists():
                _switch(each).write_text("0")
        if ours != devices:
            # Noted before it is done: what an agent did that ended in between is known as its own.
            self._keep(devices)
        for each in devices:
            _switch(each).write_text("1")

    def _ours(self) -> frozenset[str]:
        try:
            kept = json.loads((self._directory / KEPT).read_text())
        except FileNotFoundError:
            return frozenset()
        return frozenset(map(str, kept["devices"])) if kept["boot"] == BOOT.read_text().strip() else frozenset()

    def _keep(self, devices: frozenset[str]) -> None:
        kept = {"boot": BOOT.read_text().strip(), "devices": sorted(devices)}
        whole_file.put(self._directory / KEPT, json.dumps(kept))


def _switch(device: str) -> Path:
    return Path("/proc/sys/net/ipv4/conf", device, "forwarding")
