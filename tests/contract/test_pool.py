"""Connections to PostgreSQL are given up when nothing is heard of its machine any more."""

import socket

import pytest

from infra.db.pool import Connections
from tests.servers import Servers

pytestmark = pytest.mark.real
MOST_SECONDS = 20


async def test_a_machine_that_is_gone_is_missed_soon(real_servers: Servers) -> None:
    """Whether it is written to, or its answer is waited for. What the kernel is told, it does."""
    connections = Connections(real_servers.dsn, 1, RuntimeError)
    await connections.open()
    async with connections.lend() as connection:
        with socket.socket(fileno=connection.fileno()) as found:
            options = {
                name: found.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
                for name in ("TCP_USER_TIMEOUT", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
            }
            assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            found.detach()
    await connections.close()
    assert 0 < options["TCP_USER_TIMEOUT"] <= MOST_SECONDS * 1000
    assert options["TCP_KEEPIDLE"] + options["TCP_KEEPINTVL"] * options["TCP_KEEPCNT"] <= MOST_SECONDS
