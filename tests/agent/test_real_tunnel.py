"""Real guests on two hosts that encrypt what they send each other."""

import asyncio
import uuid
from dataclasses import replace

import pytest

from agent.drivers.driver import Secrets
from tests.agent.samples import a_guest
from tests.agent.test_real_guests import UPLINKS, Place, nic, opened, place, reached, reaching, remove, run, said, umask
from tests.agent.test_tunnel import ENCRYPTED_MTU, HEADERS, lacking

__all__ = ["place", "umask"]

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.real,
    pytest.mark.skipif(bool(lacking), reason=f"hosts with a tunnel need {lacking}"),
]

TELLS_MTU = b"#!/bin/sh\necho mtu is $(cat /sys/class/net/eth0/mtu) >/dev/console\n"


async def test_guests_are_told_how_much_fits_and_reach_each_other_by_the_tunnel(place: Place) -> None:
    network = str(uuid.uuid4())
    first, second = (
        a_guest(place.image, (nic(place, host, number, network, 70002),), hostname=f"g{number}", disk=1 << 30)
        for host, number in ((0, 10), (1, 11))
    )
    hosts = [replace(host, encrypt=True) for host in place.hosts]
    async with opened(hosts[0], place.store) as here, opened(hosts[1], place.store) as there:
        known = {UPLINKS[0]: await here.tunnel_key(), UPLINKS[1]: await there.tunnel_key()}
        for driver in (here, there):
            await driver.know_hosts(known)
        await asyncio.gather(
            run(here, first, reaching(second.nics[0].ip, ENCRYPTED_MTU - HEADERS)),
            run(there, second, Secrets(user_data=TELLS_MTU)),
        )
        await said(there, second, f"mtu is {ENCRYPTED_MTU}")
        await reached(here, first, second.nics[0].ip)
        tunnel = here._networks.tunnel.name
        transferred = await asyncio.to_thread(place.hosts[0].real.run, "wg", "show", tunnel, "transfer")
        peer, received, sent = transferred.stdout.split()
        assert peer == known[UPLINKS[1]]
        assert min(int(received), int(sent)) > ENCRYPTED_MTU
        await remove(here, first)
        await remove(there, second)
