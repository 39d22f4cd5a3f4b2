"""Encryption of what guests send from host to host: WireGuard between the hosts' uplinks, below VXLAN.

Why by a rule of routing, and not by VXLAN's own device: the kernel sends what it learned of a guest's place by any
device. So all that is for VXLAN's port is looked up in a table of its own, which leads into the tunnel and else
nowhere; the tunnel needs no addresses but the uplinks', and a host's key is good for its own uplink alone.
"""

import base64
import hashlib
import json
import logging
import re
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from threading import Lock

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from agent.drivers import host_command
from agent.drivers.driver import DriverError, DriverFault
from agent.drivers.network import vxlan
from agent.drivers.network.namespace import there

logger = logging.getLogger(__name__)

PORT = 51820
TABLE = "4789"
"""Routing table of what is for VXLAN, and preference of the rule that leads to it."""
KEY_BYTES = 32
KEY = "tunnel.key"
LOG = "tunnel.log"
LOG_AT_MOST = 64 << 10
"""Bytes that the tunnel's process may have complained until its log is emptied."""
SOCKETS = Path("/var/run/wireguard")
START_SECONDS = 10.0
END_SECONDS = 5.0
REFUSED = 2
"""`ip` ends with this where the kernel says no: to a kind of device that it does not have, to a rule that is there."""

_RULE = ("pref", TABLE, "iif", "lo", "ipproto", "udp", "dport", str(vxlan.PORT), "lookup", TABLE)
_OURS = re.compile(r"gsw-[0-9a-f]{8}")
_ANYWHERE = "192.0.2.1"
"""An address that is nobody's, to ask where packets for VXLAN's port go."""
_START = 'exec setsid -f wireguard-go -f "$1" </dev/null >"$2" 2>&1'


class Tunnel:
    """The encrypted way to the other hosts, or none."""

    def __init__(self, directory: Path, encrypt: bool) -> None:
        """`directory`: for the host's private key, which is made when it is first needed."""
        self.encrypts = encrypt
        self._directory = directory
        self._told: tuple[str, Mapping[str, str]] | None = None
        self._apart: dict[str, str] = {}
        self._lock = Lock()

    @cached_property
    def key(self) -> str:
        """Public key, in base64, by which the other hosts know this one; empty: it encrypts nothing. Raises OSError."""
        return _text(self._private.public_key().public_bytes_raw()) if self.encrypts else ""

    @cached_property
    def name(self) -> str:
        """Name of the device; empty where there is no tunnel. Raises OSError."""
        # Hosts that share a machine may share its /var/run, where each tunnel has a socket.
        return f"gsw-{hashlib.sha256(self.key.encode()).hexdigest()[:8]}" if self.encrypts else ""

    @cached_property
    def _private(self) -> X25519PrivateKey:
        return _private_key(self._directory / KEY)

    def reached(self, hosts: Mapping[str, str]) -> Mapping[str, str]:
        """Return which of the other hosts (address of the uplink -> public key) are reached: those that encrypt as this
        one does. The log is told of the rest once.
        """
        apart = {each: key for each, key in hosts.items() if self.encrypts != _is_key(key)}
        for address in sorted(apart.keys() - self._apart.keys()):
            how = "has told no key to encrypt with" if self.encrypts else "encrypts, and this host does not"
            logger.warning(
                "the host at %s %s: its guests and those of this host do not reach each other; agent.encrypt must be "
                "the same on all hosts",
                address,
                how,
            )
        self._apart = apart
        return {each: key for each, key in hosts.items() if each not in apart}

    def stands(self, hosts: Mapping[str, str]) -> bool:
        """Return whether all is as `have` left it, and for these hosts. Raises DriverError "host-command-failed"."""
        if not self.encrypts:
            return True
        with self._lock:
            self._bound_log()
            return self._told is not None and self._told[1] == hosts and there(self.name) and self._leads()

    def have(self, own: str, mtu: int, hosts: Mapping[str, str]) -> None:
        """Have the tunnel from the uplink's address `own` to these hosts (address -> public key) and to no others, and
        no tunnel that is another's; without encryption have none.

        `mtu`: the uplink's, in bytes. Raises DriverError "host-command-failed".
        """
        with self._lock:
            for name in _devices() - {self.name}:
                _end(name)
            if not self.encrypts:
                host_command.run("ip", "rule", "del", *_RULE, fails=(REFUSED,))
                host_command.run("ip", "route", "flush", "table", TABLE, fails=(REFUSED,))
                return
            made = not there(self.name)
            if made:
                self._make()
            self._configure(hosts)
            if made or self._told is None or self._told[0] != own:
                self._address(own, mtu)
            self._lead()
            if made:
                # Else they would go on for 15 s with keys that this end has no more: a first word makes new ones.
                self._configure(hosts, greet=True)
                self._configure(hosts)
            self._told = (own, dict(hosts))

    def _make(self) -> None:
        if host_command.run("ip", "link", "add", self.name, "type", "wireguard", fails=(REFUSED,)) is not None:
            return
        if lacking := [each for each in ("wireguard-go", "setsid") if shutil.which(each) is None]:
            message = f"agent.encrypt needs WireGuard: this kernel has none, and there is no {lacking[0]} on the host"
            raise DriverError(DriverFault.HOST_COMMAND_FAILED, message)
        _free(self.name)
        # It outlives the agent: guests reach each other while that is upgraded.
        host_command.run("sh", "-c", _START, "tunnel", self.name, str(self._directory / LOG))
        if not _until(lambda: there(self.name) and _answers(self.name), START_SECONDS):
            message = "wireguard-go made no tunnel; the log of the host's agent says why"
            raise DriverError(DriverFault.HOST_COMMAND_FAILED, message, self._complaints())

    def _configure(self, hosts: Mapping[str, str], greet: bool = False) -> None:
        lines = ["[Interface]", f"PrivateKey = {_text(self._private.private_bytes_raw())}", f"ListenPort = {PORT}"]
        for address, key in sorted(hosts.items()):
            lines += ["[Peer]", f"PublicKey = {key}", f"AllowedIPs = {address}/32", f"Endpoint = {address}:{PORT}"]
            lines += ["PersistentKeepalive = 25"] if greet else []
        host_command.run("wg", "syncconf", self.name, "/dev/stdin", given="\n".join(lines) + "\n")

    def _address(self, own: str, mtu: int) -> None:
        Path(f"/proc/sys/net/ipv6/conf/{self.name}/disable_ipv6").write_text("1")
        # The way back to a peer's address is the uplink's: a host that is strict about that would take nothing.
        Path(f"/proc/sys/net/ipv4/conf/{self.name}/rp_filter").write_text("2")
        # As large as the uplink's: what guests send that started before there was encryption is cut in two, not lost.
        host_command.run("ip", "link", "set", "dev", self.name, "mtu", str(mtu), "up")
        host_command.run("ip", "-4", "address", "flush", "dev", self.name)
        host_command.run("ip", "address", "add", f"{own}/32", "dev", self.name)

    def _lead(self) -> None:
        host_command.run("ip", "route", "replace", "default", "dev", self.name, "table", TABLE)
        host_command.run("ip", "route", "replace", "unreachable", "default", "metric", "4096", "table", TABLE)
        host_command.run("ip", "rule", "add", *_RULE, fails=(REFUSED,))
        if not self._leads():
            message = "what is for other hosts does not go into the tunnel: the kernel took no rule for it"
            raise DriverError(DriverFault.HOST_COMMAND_FAILED, message, " ".join(_RULE))

    def _leads(self) -> bool:
        port = ("ipproto", "udp", "dport", str(vxlan.PORT))
        printed = host_command.run("ip", "-json", "route", "get", _ANYWHERE, *port, fails=(REFUSED,))
        return any(each.get("dev") == self.name for each in json.loads(printed or "[]"))

    def _bound_log(self) -> None:
        path = self._directory / LOG
        if path.exists() and path.stat().st_size > LOG_AT_MOST:
            path.write_bytes(b"")

    def _complaints(self) -> str:
        try:
            return (self._directory / LOG).read_text(errors="replace")[-host_command.SAID_AT_MOST :]
        except OSError:
            return ""


def _private_key(path: Path) -> X25519PrivateKey:
    try:
        return X25519PrivateKey.from_private_bytes(base64.b64decode(path.read_bytes(), validate=True))
    except FileNotFoundError:
        pass
    except ValueError:
        logger.warning("%s holds no key: a new one is made, and told to the other hosts", path)
    made = X25519PrivateKey.generate()
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fresh.touch(0o600)
    fresh.write_text(_text(made.private_bytes_raw()))
    fresh.replace(path)
    return made


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode()


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == KEY_BYTES
    except ValueError:
        return False


def _devices() -> set[str]:
    """Return the tunnels of the calling thread's network namespace."""
    return {each.name for each in Path("/proc/sys/net/ipv4/conf").iterdir() if _OURS.fullmatch(each.name)}


def _end(name: str) -> None:
    """Remove the device; the process that has it ends by that."""
    host_command.run("ip", "link", "del", "dev", name, fails=(1,))
    _free(name)


def _free(name: str) -> None:
    """Have no socket of that name: a process that is about to end removes whatever stands there."""
    _until(lambda: not _answers(name), END_SECONDS)
    (SOCKETS / f"{name}.sock").unlink(missing_ok=True)


def _answers(name: str) -> bool:
    with socket.socket(socket.AF_UNIX) as asking:
        try:
            asking.connect(str(SOCKETS / f"{name}.sock"))
        except OSError:
            return False
    return True


def _until(condition: Callable[[], bool], timeout: float) -> bool:
    """Wait until the condition holds, at most `timeout` seconds; return whether it does."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
