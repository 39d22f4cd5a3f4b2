"""A guest moves to another host and takes its disk and its address along; of one host there is nothing left then."""

import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import User
from tests.e2e.test_guests import answers_gateway, boot, claims, disks, domains, network_files

pytestmark = pytest.mark.e2e

OTHER = {"host1": "host2", "host2": "host1"}


def addresses(host: str, ip: str) -> list[Path]:
    """A host's notes of networks in which a guest there has this address."""
    return [path for path in network_files(host, "network.json") if f'"{ip}"' in path.read_text()]


def assert_all_of(record: dict[str, Any], host: str) -> None:
    """A host has disk, definition and network of the instance, and the other host has none of them."""
    ident, (ip,) = record["id"], record["addresses"]
    for each, there in ((host, True), (OTHER[host], False)):
        assert (ident in domains(each)) is there, each
        assert bool(disks(each, ident)) is there, each
        assert bool(addresses(each, ip)) is there, each


def assert_answers(record: dict[str, Any], host: str) -> None:
    """The guest answers the gateway of its network on this host."""
    assert answers_gateway(host, record["addresses"][0])


def test_a_running_guest_moves_and_is_confirmed_and_moves_and_is_reverted(user: User, tmp_path: Path) -> None:
    name = f"mover-{uuid.uuid4().hex[:6]}"
    script = tmp_path / "user-data"
    script.write_text(
        "#!/bin/sh\n[ -e /boot-disk/note ] || echo written-at-$(hostname) >/boot-disk/note\n"
        "echo note: $(cat /boot-disk/note)\n"
    )
    before = claims(user)
    booted = boot(user, name, "--host", "host1", "--user-data", str(script), "--password", "correct-horse-9")
    try:
        user.wait_ready(name)
        user.gs("instance", "migrate", name, "--host", "host2")
        moved = user.read("instance", "show", name)
        assert (moved["status"], moved["host"]["name"], moved["power"]) == ("resized", "host2", "running")
        assert (moved["addresses"], moved["nics"][0]["mac"]) == (booted["addresses"], booted["nics"][0]["mac"])  # type: ignore[index]
        console = user.wait_ready(name)
        assert f"gostack-guest: hostname={name} uuid={moved['id']}" in console
        assert f"address={moved['addresses'][0]}/24 dev=eth0 mac={moved['nics'][0]['mac']}" in console
        assert "gostack-guest: boots=2" in console, "it has the disk that it had"
        assert f"note: written-at-{name}" in console, "it has what it wrote, and is told what it was told"
        assert_answers(moved, "host2")
        assert {host: count - before[host] for host, count in claims(user).items()} == {"host1": 1, "host2": 1}

        user.gs("instance", "migrate-confirm", name)
        shown = user.read("instance", "show", name)
        assert (shown["status"], shown["host"]["name"], shown["power"]) == ("active", "host2", "running")
        assert_all_of(shown, "host2")
        assert {host: count - before[host] for host, count in claims(user).items()} == {"host1": 0, "host2": 1}

        user.gs("instance", "migrate", name)
        assert user.read("instance", "show", name)["host"]["name"] == "host1"
        assert "gostack-guest: boots=3" in user.wait_ready(name)
        user.gs("instance", "migrate-revert", name)
        back = user.read("instance", "show", name)
        assert (back["status"], back["host"]["name"], back["power"]) == ("active", "host2", "running")
        assert "gostack-guest: boots=3" in user.wait_ready(name, boots=2), "what was done at the other host is gone"
        assert_all_of(back, "host2")
        assert_answers(back, "host2")
        listed = user.read("instance", "migration-list", "--instance", name)["migrations"]
        assert [each["status"] for each in listed] == ["reverted", "confirmed"]
    finally:
        user.gs("instance", "delete", "--hard", name)
    assert claims(user) == before


def test_a_stopped_guest_moves_and_stays_off(user: User) -> None:
    name = f"still-{uuid.uuid4().hex[:6]}"
    boot(user, name, "--host", "host2")
    try:
        user.wait_ready(name)
        user.gs("instance", "stop", name)
        user.gs("instance", "migrate", name)
        user.gs("instance", "migrate-confirm", name)
        moved = user.read("instance", "show", name)
        assert (moved["status"], moved["host"]["name"], moved["power"]) == ("stopped", "host1", "shutdown")
        assert_all_of(moved, "host1")
        user.gs("instance", "start", name)
        assert "gostack-guest: boots=2" in user.wait_ready(name)
    finally:
        user.gs("instance", "delete", "--hard", name)
