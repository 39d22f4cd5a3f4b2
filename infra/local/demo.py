"""From nothing to a running guest, then what to type next: the first thing a visitor sees of GoStack."""

import json
import os
import re
import subprocess
import time
from pathlib import Path

from infra.local.account import invoker
from infra.local.ceph import Ceph
from infra.local.cluster import CEPH_POOL, Cluster
from infra.local.layout import Layout
from infra.local.probes import API_PORT, durability
from infra.local.process import Failure, run, wait_until
from infra.local.progress import ProgressLine, say
from infra.local.server import LOOPBACK

READY = "gostack-guest: ready"
NAME = "demo-1"
IMAGE, FLAVOR, NETWORK, KEYPAIR = "tiny", "tiny", "demo", "demo"
POOL, VOLUME = "ceph", "demo-data"
PAGE = """#!/bin/sh
echo "This page comes from $(hostname), a guest of GoStack." >/www/index.html
"""
"""User data of the guest: the page that the image's own server has at port 80."""
BOOT_TIMEOUT = 180.0
REACHED_TIMEOUT = 120.0
NOT_FOUND = 3
BLANK = 1 << 20


def build_image(layout: Layout, simulated: bool) -> None:
    """Build the guest image where it is not there yet. Raises Failure."""
    if simulated:
        # Simulated hosts start nothing: its bytes do not matter.
        if not layout.guest_image.exists():
            layout.guest_image.write_bytes(bytes(BLANK))
        return
    command = [layout.program("python"), "-m", "infra.images.build", str(layout.guest_image)]
    run(command, account=invoker(), directory=layout.project, timeout=900)


class Visitor:
    """A user who types `gs` commands on the command line."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def gs(self, *arguments: str, timeout: float = 60.0) -> str:
        """Run a `gs` command, and return its output. Raises Failure with its message where it fails."""
        done = self._type(arguments, timeout)
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip())[-2000:]
            line = f"gs {' '.join(arguments)}"
            raise Failure(line, f"exit status {done.returncode}: {said}", self._layout.log("api"))
        return done.stdout

    def knows(self, kind: str, name: str) -> bool:
        """Return whether a resource of this kind and name exists. Raises Failure where the command fails otherwise."""
        done = self._type((kind, "show", name), 60.0)
        if done.returncode not in (0, NOT_FOUND):
            raise Failure(f"gs {kind} show {name}", done.stderr.strip()[-2000:], self._layout.log("api"))
        return done.returncode == 0

    def _type(self, arguments: tuple[str, ...], timeout: float) -> subprocess.CompletedProcess[str]:
        where = {"GS_API": f"http://{LOOPBACK}:{API_PORT}"}
        command = [self._layout.program("gs"), *arguments]
        return run(command, environment=where, timeout=timeout, check=False)


def demo(cluster: Cluster, progress: ProgressLine) -> None:
    """Register an image, a flavor and a network, and boot a guest. Raises Failure naming the command that failed."""
    visitor = Visitor(cluster.layout)
    simulated = cluster.options.simulated
    with progress.phase("register"):
        _wait_for_hosts(visitor, cluster, progress)
        _register(visitor, cluster.layout, progress)
    name = NAME
    with progress.phase("boot"):
        wanted = ("--flavor", FLAVOR, "--image", IMAGE, "--network", NETWORK)
        with progress.part(name, "active"):
            status = _status(visitor, name)
            if not status:
                boot = ("instance", "boot", "--name", name, *wanted, "--user-data", PAGE, "--wait")
                visitor.gs(*boot, timeout=BOOT_TIMEOUT)
            elif status == "stopped":
                # `make down` ended it.
                visitor.gs("instance", "start", name, "--wait", timeout=BOOT_TIMEOUT)
        if (ceph := cluster.ceph) is not None:
            _attach_volume(visitor, name, ceph, progress)
        address = "" if simulated else _floating(visitor, name)
        if not simulated:
            with progress.part("guest"):
                _wait_for_guest(visitor, name)
            with progress.part(address, "answers"):
                _wait_for_answer(address)
    _show(visitor, name, address)


def _wait_for_hosts(visitor: Visitor, cluster: Cluster, progress: ProgressLine) -> None:
    def registered() -> bool:
        return len(re.findall(r'"name":', visitor.gs("host", "list", "-o", "json"))) >= cluster.options.hosts

    with progress.part("hosts registered"):
        if not wait_until(registered, 60, pause=0.5):
            raise Failure("hosts", "have not registered", cluster.layout.log(_first_agent(cluster)))


def _first_agent(cluster: Cluster) -> str:
    return f"{cluster.hosts[0].name}-agent" if cluster.hosts else "simulated-agent"


def _register(visitor: Visitor, layout: Layout, progress: ProgressLine) -> None:
    image = ("image", "create", "--name", IMAGE, "--file", str(layout.guest_image))
    flavor = ("flavor", "create", "--name", FLAVOR, "--core", "1", "--memory", "128M")
    network = ("network", "create", "--name", NETWORK, "--cidr", "10.20.0.0/24", "--external")
    for kind, name, command in (("image", IMAGE, image), ("flavor", FLAVOR, flavor), ("network", NETWORK, network)):
        with progress.part(f"{kind} {name}"):
            if not visitor.knows(kind, name):
                visitor.gs(*command)
            elif kind == "network":
                # One that a demonstration of an earlier release made has no way out.
                visitor.gs("network", "update", name, "--external")
    with progress.part("group default"):
        for permitted in (("--protocol", "icmp"), ("--protocol", "tcp", "--ports", "80")):
            visitor.gs("security-group", "rule-add", "default", *permitted)
    with progress.part(f"keypair {KEYPAIR}"):
        if not visitor.knows("keypair", KEYPAIR):
            made = visitor.gs("keypair", "create", "--name", KEYPAIR)
            _keep_private(layout.secrets / f"keypair-{KEYPAIR}", made)


def _keep_private(path: Path, text: str) -> None:
    """Write the private key to a file only its owner may read: `keypair create` prints it once."""
    owner = invoker()
    owner.write(path, text, 0o600)
    if os.geteuid() == 0:
        os.chown(path, owner.uid, owner.gid)


def _status(visitor: Visitor, name: str) -> str:
    """Return the status of the instance of this name, such as one of an earlier demonstration; empty where none is."""
    found = json.loads(visitor.gs("instance", "list", "--name", name, "-o", "json"))
    return str(found[0]["status"]) if found else ""


def _floating(visitor: Visitor, name: str) -> str:
    """Return the floating address of an instance, which is given one where it has none."""
    (nic,) = json.loads(visitor.gs("instance", "show", name, "-o", "json"))["nics"]
    led = json.loads(visitor.gs("floating-ip", "list", "--port-id", nic["port_id"], "-o", "json"))
    if led:
        return str(led[0]["name"])
    made = json.loads(visitor.gs("floating-ip", "create", "-o", "json"))
    visitor.gs("floating-ip", "associate", made["name"], name)
    return str(made["name"])


def _attach_volume(visitor: Visitor, name: str, ceph: Ceph, progress: ProgressLine) -> None:
    """Make the pool and a volume in it, where they are not there yet, and attach the volume to the instance."""
    with progress.part(f"pool {POOL}"):
        if not visitor.knows("pool", POOL):
            conf = str(ceph.files.client_conf)
            visitor.gs("pool", "create", POOL, "--type", "rbd", "--ceph-pool", CEPH_POOL, "--ceph-conf", conf)

        def reached() -> bool:
            return bool(json.loads(visitor.gs("pool", "show", POOL, "-o", "json"))["capacity"])

        if not wait_until(reached, REACHED_TIMEOUT, pause=0.5):
            raise Failure(f"pool {POOL}", "is reached by no host; gs pool show tells what each found")
    with progress.part(f"volume {VOLUME}", "attached"):
        if not visitor.knows("volume", VOLUME):
            visitor.gs("volume", "create", "--name", VOLUME, "--size", "1G", "--pool", POOL, "--wait")
        if not json.loads(visitor.gs("volume", "show", VOLUME, "-o", "json"))["instance_id"]:
            visitor.gs("instance", "attach-volume", name, "--volume-id", VOLUME, "--wait")


def _wait_for_answer(address: str) -> None:
    def answers() -> bool:
        return run(["ping", "-c", "1", "-W", "1", address], check=False, timeout=10).returncode == 0

    if not wait_until(answers, REACHED_TIMEOUT, pause=0.5):
        raise Failure(address, f"does not answer a ping within {REACHED_TIMEOUT:.0f} s; see docs/networks.md")


def _wait_for_guest(visitor: Visitor, name: str) -> None:
    deadline = time.monotonic() + BOOT_TIMEOUT
    while READY not in visitor.gs("instance", "log", name):
        if time.monotonic() > deadline:
            said = visitor.gs("instance", "log", name)[-1000:]
            raise Failure(name, f"its console does not say {READY!r} after {BOOT_TIMEOUT:.0f} s:\n{said}")
        time.sleep(0.5)


def _show(visitor: Visitor, name: str, address: str) -> None:
    """Show what there is now; `address` is the guest's floating one, empty where the guest is simulated."""
    simulated = not address
    say("")
    say(visitor.gs("instance", "list").rstrip())
    if not simulated:
        console = visitor.gs("instance", "log", name).rstrip().splitlines()
        say(f"\nThe console of {name}, its last lines:")
        say("\n".join(f"  | {line}" for line in console[-8:]))
    addresses = json.loads(visitor.gs("instance", "show", name, "-o", "json"))["addresses"]
    say(f"\n{name} is {'simulated' if simulated else 'running'}" + (f" at {', '.join(addresses)}" if addresses else ""))
    if address:
        say(f"\nFrom this machine it is reached at {address}:\n  ping -c 3 {address}\n  curl http://{address}/")
    say("\nWhat to type next:")
    for command, meaning in (
        (f"gs instance show {name}", "all there is to know about it"),
        (f"gs instance log {name}", "what its console said"),
        (f"gs instance stop {name}", "and start, reboot, delete, restore"),
        ("gs instance boot --name two --flavor tiny --image tiny --network demo", "another one"),
        ("gs event follow", "everything that happens, as it happens"),
        ("make status", "what runs here; `make logs PART=api`; `make down` stops it"),
    ):
        path = f".venv/bin/{command}" if command.startswith("gs") else command
        say(f"  {path:<84} # {meaning}")
    if told := durability():
        say(f"\nThe log has {told} (docs/operations.md, Replicas).")
