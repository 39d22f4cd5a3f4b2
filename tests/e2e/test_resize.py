"""A guest gets larger: its volume while it runs, then itself, here and on another host. One guest for all of it, since
each of its starts takes long."""

import re
import uuid
from pathlib import Path

import pytest

from tests.e2e.conftest import User
from tests.e2e.test_guests import boot, claims
from tests.e2e.test_migrations import assert_all_of

pytestmark = pytest.mark.e2e

MIB, GIB = 1 << 20, 1 << 30
SCRIPT = """#!/bin/sh
[ -e /boot-disk/bytes ] || dd if=/dev/urandom of=/boot-disk/bytes bs=1k count=64 2>/dev/null
sync
echo "bytes: $(md5sum </boot-disk/bytes)"
while :; do
    now="cpus=$(nproc) memory=$(grep MemTotal /proc/meminfo | tr -dc 0-9) vda=$(cat /sys/block/vda/size)"
    now="$now vdb=$(cat /sys/block/vdb/size 2>/dev/null)"
    [ "$now" = "$last" ] || echo "sees: $now"
    last=$now
    sleep 1
done >/dev/console 2>&1 </dev/null &
"""
SEES = re.compile(r"sees: cpus=(\d+) memory=(\d+) vda=(\d+) vdb=(\d*)")


def seen(user: User, name: str) -> tuple[int, int, int, int] | None:
    """Processors, memory in MiB, and the bytes of both disks, as the guest said last; None: it has said nothing."""
    found = SEES.findall(user.console(name))
    if not found:
        return None
    cpus, kib, root, data = found[-1]
    return int(cpus), int(kib) // 1024, int(root) * 512, int(data or 0) * 512


def sees(user: User, name: str, cpus: int, mib: int, root: int, data: int) -> None:
    """Wait until the guest sees this many processors, most of so much memory, and disks of so many bytes."""

    def so() -> bool:
        now = seen(user, name)
        return now is not None and (now[0], now[2], now[3]) == (cpus, root, data) and mib * 0.7 < now[1] <= mib

    user.wait(f"{name} sees {cpus} vCPUs, {mib} MiB, {root} and {data} bytes", so, 180)


def test_a_guest_gets_larger_keeps_what_it_wrote_and_gets_back_what_it_had(user: User, tmp_path: Path) -> None:
    run = uuid.uuid4().hex[:6]
    name, large, data, filler = f"grower-{run}", f"large-{run}", f"data-{run}", f"filler-{run}"
    script = tmp_path / "user-data"
    script.write_text(SCRIPT)
    before = claims(user)
    tiny = user.read("flavor", "show", "tiny")
    cpus, mib = tiny["core"], tiny["memory"] // MIB
    user.gs("flavor", "create", "--name", large, "--core", str(cpus + 1), "--memory", f"{2 * mib}M")
    booted = boot(user, name, "--host", "host1", "--user-data", str(script), "--volume-size", "1")
    try:
        user.wait_ready(name)
        user.gs("volume", "create", "--name", data, "--size", "64M", "--instance", name)
        user.gs("instance", "attach-volume", name, "--volume-id", data)
        sees(user, name, cpus, mib, GIB, 64 * MIB)
        user.gs("volume", "extend", data, "--size", "128M")
        sees(user, name, cpus, mib, GIB, 128 * MIB)
        assert user.read("instance", "show", name)["volumes"][0]["size"] == 128 * MIB
        (wrote,) = re.findall(r"bytes: (\w{32})", user.console(name))

        user.gs("instance", "resize", name, "--flavor", large, "--disk", "2GiB")
        shown = user.read("instance", "show", name)
        assert (shown["status"], shown["host"]["name"], shown["flavor"]["name"]) == ("resized", "host1", large)
        sees(user, name, cpus + 1, 2 * mib, 2 * GIB, 128 * MIB)
        assert re.findall(r"bytes: (\w{32})", user.console(name)) == [wrote] * 2
        user.gs("instance", "resize-revert", name)
        sees(user, name, cpus, mib, GIB, 128 * MIB)
        assert re.findall(r"bytes: (\w{32})", user.console(name)) == [wrote] * 3

        user.gs("instance", "detach-volume", name, "--volume-id", data)
        user.gs("volume", "delete", data)
        disk = user.read("host", "show", "host1")["disk"]
        free = int(disk["total"]) - int(disk["used"])
        user.gs("volume", "create", "--name", filler, "--host", "host1", "--size", str(free - free % 512))
        user.gs("instance", "resize", name, "--flavor", large, "--disk", "2GiB")
        sees(user, name, cpus + 1, 2 * mib, 2 * GIB, 0)
        user.gs("instance", "resize-confirm", name)
        moved = user.read("instance", "show", name)
        assert (moved["status"], moved["host"]["name"], moved["addresses"]) == ("active", "host2", booted["addresses"])
        assert re.findall(r"bytes: (\w{32})", user.console(name))[-1] == wrote
        assert_all_of(moved, "host2")
        listed = user.read("instance", "migration-list", "--instance", name, "--type", "resize")["migrations"]
        assert [(each["status"], each["destination_name"]) for each in listed] == [
            ("confirmed", "host2"),
            ("reverted", "host1"),
        ]
    finally:
        user.gs("instance", "delete", "--hard", name)
        for each in user.read("volume", "list")["volumes"]:
            if each["name"] in (data, filler):
                user.gs("volume", "delete", each["id"])
        user.gs("flavor", "delete", large)
    assert claims(user) == before
