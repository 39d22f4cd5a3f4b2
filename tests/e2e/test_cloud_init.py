"""A Debian guest without a config drive: its cloud-init has all from the metadata service, as `gs` was told it."""

import gzip
import uuid
from pathlib import Path

import pytest

from infra.images import debian
from infra.images.disk import ToolMissing
from infra.local.layout import Layout
from tests.agent.test_cloud_init import BOOT_TIMEOUT, PASSWORD, report, user_data
from tests.e2e.conftest import User

pytestmark = pytest.mark.e2e

GATEWAY = "10.20.0.1"
"""First address of the demo's network."""
ASKING = """#!/bin/bash
while :; do
    exec 3<>/dev/tcp/169.254.169.254/80
    printf 'GET /openstack/latest/meta_data.json HTTP/1.0\\r\\n\\r\\n' >&3
    echo told: $(tr -d '\\r' <&3 | tail -n +2)
    sleep 2
done >/dev/console 2>&1 </dev/null &
"""
"""Has a guest say every other second what the metadata service tells it."""


def test_a_debian_guest_is_what_the_metadata_service_tells_it(user: User, tmp_path: Path) -> None:
    built = Layout().cache / "debian.qcow2"
    try:
        debian.build(built)
    except ToolMissing as problem:
        pytest.skip(str(problem))
    run = uuid.uuid4().hex[:6]
    name = f"debian-{run}"
    file = tmp_path / "user-data.gz"
    file.write_bytes(gzip.compress(user_data(report(GATEWAY), ASKING)))
    user.gs("image", "create", "--name", name, "--file", str(built))
    user.gs("flavor", "create", "--name", name, "--core", "2", "--memory", "512M")
    user.gs(
        *("instance", "boot", "--name", name, "--flavor", name, "--image", name, "--network", "demo"),
        *("--no-config-drive", "--user-data", str(file), "--key-name", "demo", "--password", PASSWORD),
        *("--metadata", "role=web"),
    )
    try:
        user.wait("cloud-init has ended", lambda: "detail:" in user.console(name), BOOT_TIMEOUT)
        console = user.console(name)
        key = user.read("keypair", "show", "demo")["public_key"].strip()
        for seen in (f"hostname={name}", f"key={key}", "user=debian, administrator=root", "password=True", "dns=1"):
            assert f"seen {seen}." in console, console
        assert f"seen metadata=169.254.169.254 via {GATEWAY}." in console, console
        assert "status: done" in console, console
        assert "Datasource DataSourceOpenStackLocal" in console, console
        assert '"role": "web"' in console, console
        user.gs("instance", "update", name, "--metadata", "role=db")
        user.wait("the guest is told of the change", lambda: '"role": "db"' in user.console(name))
    finally:
        user.gs("instance", "delete", "--hard", name)
        user.gs("image", "delete", name)
        user.gs("flavor", "delete", name)
