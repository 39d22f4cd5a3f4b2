"""A rule of a security group, as its users see it: running guests on two hosts follow within seconds."""

import time
import uuid
from pathlib import Path

import pytest

from tests.e2e.conftest import User

pytestmark = pytest.mark.e2e

FOLLOWS = 10.0
"""Seconds after which a guest must have noticed: five times what it takes on a machine that is not busy."""


def test_a_rule_reaches_running_guests(user: User, tmp_path: Path) -> None:
    run = uuid.uuid4().hex[:6]
    group, server, client = f"group-{run}", f"server-{run}", f"client-{run}"
    user.gs("security-group", "create", group)
    boot = ("instance", "boot", "--flavor", "tiny", "--image", "tiny", "--network", "demo")
    try:
        user.gs(*boot, "--name", server, "--host", "host2", "--security-group-ids", group)
        (address,) = user.read("instance", "show", server)["addresses"]
        script = tmp_path / "user-data"
        loop = f"n=$((n + 1)); ping -c 1 -W 1 {address} >/dev/null && echo reached $n || echo refused $n; sleep 0.2"
        script.write_text(f"#!/bin/sh\nwhile :; do {loop}; done >/dev/console </dev/null &\n")
        user.gs(*boot, "--name", client, "--host", "host1", "--user-data", str(script))
        user.wait_ready(server)
        user.wait("nothing is permitted yet", lambda: "refused" in user.console(client))
        assert "reached" not in user.console(client)

        shown = user.read("security-group", "rule-add", group, "--protocol", "icmp")
        begin = time.monotonic()
        user.wait("the rule is in force", lambda: "reached" in user.console(client), FOLLOWS)
        added = time.monotonic() - begin
        (rule,) = (each["id"] for each in shown["rules"].values() if each["direction"] == "ingress")
        user.gs("security-group", "rule-remove", group, rule)
        begin = time.monotonic()
        user.wait("it is no more", lambda: "refused" in last_word(user.console(client)), FOLLOWS)
        print(f"a rule was in force after {added:.1f} s, and no more after {time.monotonic() - begin:.1f} s")
        user.gs("security-group", "delete", group, status=1)
    finally:
        for name in (server, client):
            user.gs("instance", "delete", "--hard", name)
        user.gs("security-group", "delete", group)


def last_word(console: str) -> str:
    """The last line in which the client said how it went."""
    lines = [line for line in console.splitlines() if line.startswith(("reached ", "refused "))]
    return lines[-1] if lines else ""
