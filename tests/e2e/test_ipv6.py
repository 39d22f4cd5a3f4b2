"""A network of both families, as its users see it: guests on two hosts take the IPv6 addresses that their ports have,
by router advertisement, and reach each other."""

import uuid
from pathlib import Path

import pytest

from tests.e2e.conftest import User

pytestmark = pytest.mark.e2e


def test_guests_on_two_hosts_take_their_ipv6_addresses_and_reach_each_other(user: User, tmp_path: Path) -> None:
    run = uuid.uuid4().hex[:6]
    network, server, client = f"both-{run}", f"server-{run}", f"client-{run}"
    user.gs("network", "create", network, "--cidr", "10.66.0.0/24", "--cidr6", f"fd00:66:{run[:4]}::/64")
    boot = ("instance", "boot", "--flavor", "tiny", "--image", "tiny", "--network", network)
    try:
        user.gs(*boot, "--name", server, "--host", "host2")
        wanted = address6(user, server)
        script = tmp_path / "user-data"
        loop = f"ping -6 -c 1 -W 1 {wanted} >/dev/null && echo reached || echo waits; sleep 1"
        script.write_text(
            "#!/bin/sh\n"
            f"while :; do ip -6 -o address show dev eth0 scope global; {loop}; done >/dev/console 2>&1 </dev/null &\n"
        )
        user.gs(*boot, "--name", client, "--host", "host1", "--user-data", str(script))
        user.wait_ready(server)
        own = address6(user, client)
        user.wait("the guest has its port's address", lambda: f" {own}/64 " in user.console(client))
        user.wait("the other guest answers", lambda: "reached" in user.console(client).splitlines())
    finally:
        for name in (server, client):
            user.gs("instance", "delete", "--hard", name)
        user.gs("network", "delete", network)


def address6(user: User, name: str) -> str:
    """The IPv6 address that an instance's port has."""
    (found,) = (each for each in user.read("instance", "show", name)["addresses"] if ":" in each)
    return str(found)
