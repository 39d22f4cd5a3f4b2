"""Real guests on two hosts: their console, their address, their disk, and nothing left of them at the end."""

import json
import re
import subprocess
import urllib.request
import uuid
from pathlib import Path

import pytest

from tests.e2e.conftest import BIN, PROJECT, User

pytestmark = pytest.mark.e2e


def network_files(host: str, file: str) -> list[Path]:
    """The files of this name that a host keeps, one for each of its networks."""
    return list((PROJECT / ".gostack" / "hosts" / host / "state" / "networks").glob(f"*/{file}"))


def answers_gateway(host: str, address: str) -> bool:
    """Whether a guest of the host answers the gateway of its network: no address of it is the host's own."""
    pids = [path.read_text().strip() for path in network_files(host, "dnsmasq.pid")]
    ping = ["ping", "-c", "2", "-W", "5", address]
    found = [
        subprocess.run(["nsenter", f"--net=/proc/{pid}/ns/net", *ping], capture_output=True, timeout=60, check=False)
        for pid in pids
    ]
    return any(done.returncode == 0 for done in found)


def domains(host: str) -> str:
    """What the host's libvirt knows."""
    socket = PROJECT / ".gostack" / "hosts" / host / "run" / "libvirt-sock"
    uri = f"qemu+unix:///system?socket={socket}"
    done = subprocess.run(
        ["virsh", "-c", uri, "list", "--all", "--name"], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def disks(host: str, instance_id: str) -> list[Path]:
    """What is kept of an instance on a host."""
    return list((PROJECT / ".gostack" / "hosts" / host).glob(f"**/instances/{instance_id}"))


def claims(user: User) -> dict[str, int]:
    """How many instances each host holds resources for."""
    return {host["name"]: host["instances"] for host in user.read("host", "list")["hosts"]}


def boot(user: User, name: str, *more: str) -> dict[str, object]:
    """A guest; its record once it is active."""
    user.gs("instance", "boot", "--name", name, "--flavor", "tiny", "--image", "tiny", "--network", "demo", *more)
    found: dict[str, object] = user.read("instance", "show", name)
    return found


def test_two_guests_live_and_leave_nothing_behind(user: User, tmp_path: Path) -> None:
    before = claims(user)
    run = uuid.uuid4().hex[:6]
    first, second = f"one-{run}", f"two-{run}"
    boot(user, first, "--host", "host1")
    (address,) = user.read("instance", "show", first)["addresses"]
    script = tmp_path / "user-data"
    ping = f"ping -c 1 -W 1 {address} >/dev/null && echo reached {address}"
    script.write_text(f"#!/bin/sh\nwhile :; do {ping}; sleep 1; done >/dev/console </dev/null &\n")
    boot(user, second, "--host", "host2", "--metadata", "role=test", "--user-data", str(script))
    records = {name: user.read("instance", "show", name) for name in (first, second)}
    hosts = {name: record["host"]["name"] for name, record in records.items()}
    assert hosts == {first: "host1", second: "host2"}

    for name, record in records.items():
        console = user.wait_ready(name)
        (address,) = record["addresses"]
        assert f"gostack-guest: hostname={name} uuid={record['id']}" in console
        assert f"gostack-guest: address={address}/24 dev=eth0 mac={record['nics'][0]['mac']}" in console
        assert "gostack-guest: boots=1" in console

        assert answers_gateway(hosts[name], address)
    reached = f"reached {records[first]['addresses'][0]}"
    user.wait(f"{second} reaches {first} on the other host", lambda: reached in user.console(second))
    for host in ("host1", "host2"):
        route = ["ip", "netns", "exec", f"gs-{host}", "ip", "route", "get", records[first]["addresses"][0]]
        assert "gsb-" not in subprocess.run(route, capture_output=True, text=True, timeout=60, check=False).stdout

    user.gs("instance", "stop", first)
    assert user.read("instance", "show", first)["power"] == "shutdown"
    assert "gostack-guest: powering off" in user.console(first)
    user.gs("instance", "start", first)
    assert "gostack-guest: boots=2" in user.wait_ready(first, boots=2), "the disk outlived the stop"

    ports = {port["instance_id"] for port in user.read("port", "list")["ports"]}
    assert {record["id"] for record in records.values()} <= ports
    for name, record in records.items():
        user.gs("instance", "delete", "--hard", name)
        assert record["id"] not in domains(hosts[name])
        assert disks(hosts[name], record["id"]) == []
        user.gs("instance", "show", name, status=3)
    left = {port["instance_id"] for port in user.read("port", "list")["ports"]}
    assert not {record["id"] for record in records.values()} & left
    assert claims(user) == before


def test_a_guest_that_powers_itself_off_is_stopped_within_seconds(user: User, tmp_path: Path) -> None:
    name = f"off-{uuid.uuid4().hex[:6]}"
    script = tmp_path / "user-data"
    script.write_text("#!/bin/sh\necho told-by-user-data\n(sleep 3; poweroff) &\n")
    boot(user, name, "--user-data", str(script), "--password", "correct-horse-9")
    try:
        user.wait("it is seen", lambda: user.read("instance", "show", name)["status"] == "stopped", 60)
        assert "told-by-user-data" in user.console(name)
        history = json.dumps(
            user.read("event", "list", "--subject", f"instance/{user.read('instance', 'show', name)['id']}")
        )
        assert "gostack.instance.power-changed.v1" in history
        assert "correct-horse-9" not in history
    finally:
        user.gs("instance", "delete", "--hard", name)


def test_a_guest_outlives_its_agent_and_its_libvirtd(user: User) -> None:
    name = f"tough-{uuid.uuid4().hex[:6]}"
    record = boot(user, name, "--host", "host1")
    try:
        user.wait_ready(name)
        parts = subprocess.run(["make", "-s", "status"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
        pids = {match[1]: match[2] for match in re.finditer(r"^(host1-\w+)\s+RUNNING\s+(\d+)", parts, re.MULTILINE)}
        for part in ("host1-agent", "host1-libvirtd"):
            subprocess.run(["kill", "-9", pids[part]], check=True)
        address = record["addresses"][0]  # type: ignore[index]
        assert answers_gateway("host1", address)
        user.wait(
            "the host is registered anew",
            lambda: user.read("host", "show", "host1")["epoch"] > record["host"]["epoch"],  # type: ignore[index]
        )
        user.gs("instance", "stop", name)
        user.gs("instance", "start", name)
        assert "gostack-guest: boots=2" in user.wait_ready(name, boots=2)
    finally:
        user.gs("instance", "delete", "--hard", name)


def page(address: str) -> str:
    """What a guest serves to this machine at an address; empty where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://{address}/", timeout=2) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def test_a_guest_is_reached_at_a_floating_address_that_moves_with_it_and_reaches_out(
    user: User, tmp_path: Path
) -> None:
    run = uuid.uuid4().hex[:6]
    served, asking = f"served-{run}", f"asking-{run}"
    address = user.read("floating-ip", "create")["name"]
    serving, script = tmp_path / "serving", tmp_path / "asking"
    serving.write_text(f"#!/bin/sh\necho page-of-{run} >/www/index.html\n")
    # Out of its network, through its host, and into the other's by the address outside.
    script.write_text(f"#!/bin/sh\n(while :; do wget -q -O - http://{address}/; sleep 1; done) >/dev/console 2>&1 &\n")
    try:
        boot(user, served, "--host", "host1", "--user-data", str(serving))
        user.wait_ready(served)
        assert page(address) == ""
        user.gs("floating-ip", "associate", address, served)
        user.wait("it answers", lambda: page(address) == f"page-of-{run}\n", 10)
        assert (
            "in-use"
            in subprocess.run(
                [BIN / "gs", "floating-ip", "delete", address], capture_output=True, text=True, check=False
            ).stderr
        )
        boot(user, asking, "--host", "host2", "--user-data", str(script))
        user.wait("a guest of another host reaches it", lambda: f"page-of-{run}" in user.console(asking))
        user.gs("instance", "migrate", served, "--host", "host2")
        user.gs("instance", "migrate-confirm", served)
        user.wait_ready(served)
        user.wait("it answers from its new host", lambda: page(address) == f"page-of-{run}\n", 30)
        user.gs("floating-ip", "disassociate", address)
        user.wait("it is let go", lambda: page(address) == "", 10)
    finally:
        for name in (served, asking):
            user.gs("instance", "delete", "--hard", name)
        user.gs("floating-ip", "delete", address)
