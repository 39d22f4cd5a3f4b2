"""Limits of bandwidth of guests' interfaces: token buckets (tc-tbf) on the host's ends.

What goes to a guest is shaped where it leaves the host's end. What comes from it cannot be shaped where it arrives, so
it takes the way round by a device of its own (ifb), which it leaves at the limited rate. Dropping what is too much
instead would be simpler, and brings TCP to a halt where packets come in bundles.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from agent.drivers import host_command

BURST_SECONDS = 0.05
LEAST_BURST = 128 << 10
"""Bytes that may pass at once: bundles of packets (GSO, 64 KiB) have to fit."""
LATENCY = "200ms"
"""How long a packet may wait; what would wait longer is dropped."""
NO_LINK = 1
"""Exit code of ip where there is no such link."""


@dataclass(frozen=True)
class Limit:
    """The limits of a guest's interface, in kbit/s; 0: none."""

    tap: str
    egress_kbit: int
    ingress_kbit: int

    @property
    def device(self) -> str:
        """Name of the device by which what the guest sends takes its way."""
        return f"gsi-{self.tap.removeprefix('gst-')}"


def apply(limits: Iterable[Limit]) -> None:
    """Have these limits, and no others, on the interfaces that are there now.

    Raises DriverError "host-command-failed".
    """
    wanted = {each.tap: each for each in limits if each.egress_kbit or each.ingress_kbit}
    links = {str(each["ifname"]) for each in json.loads(host_command.run("ip", "-json", "link", "show") or "[]")}
    taps = {name for name in links if name.startswith("gst-")}
    shaped = _shaped() & taps
    for tap in sorted(wanted.keys() & taps):
        _limit(wanted[tap], links)
    for tap in sorted(shaped - wanted.keys()):
        _free(tap)
    needed = {each.device for tap, each in wanted.items() if each.egress_kbit and tap in taps}
    for device in sorted(name for name in links if name.startswith("gsi-") and name not in needed):
        host_command.run("ip", "link", "del", "dev", device, fails=(NO_LINK,))


def _shaped() -> set[str]:
    """Return the names of the interfaces that have a limit either way."""
    found = json.loads(host_command.run("tc", "-json", "qdisc", "show") or "[]")
    return {str(each["dev"]) for each in found if each.get("kind") in ("tbf", "ingress")}


def _limit(limit: Limit, links: set[str]) -> None:
    if limit.ingress_kbit:
        _shape(limit.tap, limit.ingress_kbit)
    else:
        host_command.run("tc", "qdisc", "del", "dev", limit.tap, "root", fails=(1, 2))
    if not limit.egress_kbit:
        host_command.run("tc", "qdisc", "del", "dev", limit.tap, "ingress", fails=(1, 2))
        return
    if limit.device not in links:
        host_command.run("ip", "link", "add", "name", limit.device, "type", "ifb")
    host_command.run("ip", "link", "set", "dev", limit.device, "up")
    _shape(limit.device, limit.egress_kbit)
    host_command.run("tc", "qdisc", "replace", "dev", limit.tap, "ingress")
    host_command.run(
        "tc", "filter", "replace", "dev", limit.tap, "parent", "ffff:", "protocol", "all", "prio", "1", "handle",
        "800::1", "u32", "match", "u32", "0", "0", "action", "mirred", "egress", "redirect", "dev", limit.device,
    )  # fmt: skip


def _shape(device: str, kbit: int) -> None:
    burst = max(LEAST_BURST, int(kbit * 125 * BURST_SECONDS))
    host_command.run(
        "tc", "qdisc", "replace", "dev", device, "root", "tbf", "rate", f"{kbit}kbit", "burst", str(burst), "latency",
        LATENCY,
    )  # fmt: skip


def _free(tap: str) -> None:
    for parent in ("root", "ingress"):
        host_command.run("tc", "qdisc", "del", "dev", tap, parent, fails=(1, 2))
