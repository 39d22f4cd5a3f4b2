"""What guests try that share networks and hosts with strangers: each attack from inside a real guest."""

import asyncio

import pytest

from agent.drivers.driver import Secrets
from agent.drivers.network.record import NetworkRecord
from domain.guest_spec import GuestSpec
from tests.agent.samples import a_guest
from tests.agent.test_real_guests import (
    GATEWAY,
    UPLINKS,
    Place,
    answers,
    nic,
    opened,
    place,
    remove,
    run,
    said,
    telling,
    umask,
)

__all__ = ["place", "umask"]

pytestmark = [pytest.mark.e2e, pytest.mark.real]

NETWORK = "0f1c1f0a-3c7e-4b8a-9d53-0a1b2c3d4e5f"
SEGMENT = 7201
VICTIM, WITNESS, ATTACKER, STOLEN = 10, 11, 12, 13

ATTACK = """#!/bin/sh
exec >/dev/console 2>&1
me=$(ip -4 -o address show dev eth0 | sed 's/.*inet \\([0-9.]*\\).*/\\1/')
mac=$(cat /sys/class/net/eth0/address)
tried() { if "$@" >/dev/null 2>&1; then echo "works: $what"; else echo "fails: $what"; fi; }
document=http://169.254.169.254/openstack/latest/meta_data.json

what="its own address"; tried ping -c 2 -W 2 @WITNESS@
what="its own metadata"; tried timeout 10 wget -q -O - $document

ip address add @VICTIM@/24 dev eth0
what="the victim's address, to the gateway"; tried ping -c 2 -W 2 -I @VICTIM@ @GATEWAY@
what="the victim's address, across"; tried ping -c 2 -W 2 -I @VICTIM@ @WITNESS@
arping -q -A -c 3 -I eth0 @VICTIM@
arping -q -U -c 3 -I eth0 @VICTIM@
ip address add @GATEWAY@/32 dev eth0
arping -q -A -c 3 -I eth0 @GATEWAY@
ip address del @GATEWAY@/32 dev eth0
ip address del @VICTIM@/24 dev eth0

ip address flush dev eth0
ip address add @VICTIM@/24 dev eth0; ip route add default via @GATEWAY@
what="the victim's metadata"; tried timeout 5 wget -q -O - $document
ip address flush dev eth0
ip address add @FREE@/24 dev eth0; ip route add default via @GATEWAY@
what="an address that is nobody's"; tried ping -c 2 -W 2 @WITNESS@

ip link set eth0 down; ip link set eth0 address 52:54:00:00:00:77; ip link set eth0 up
ip address flush dev eth0; ip address add $me/24 dev eth0
what="another MAC"; tried ping -c 2 -W 2 @WITNESS@
ip link set eth0 down; ip link set eth0 address @GATEWAY_MAC@; ip link set eth0 up
ip address flush dev eth0; ip address add $me/24 dev eth0
what="the gateway's MAC"; tried ping -c 2 -W 2 @WITNESS@

ip link set eth0 down; ip link set eth0 address $mac; ip link set eth0 up
ip address flush dev eth0; ip address add $me/24 dev eth0
printf 'start 10.42.0.100\nend 10.42.0.110\ninterface eth0\nlease_file /tmp/leases\n' >/tmp/udhcpd.conf
touch /tmp/leases
udhcpd -f /tmp/udhcpd.conf & sleep 8; kill $!
what="its own address again"; tried ping -c 2 -W 2 @WITNESS@
echo attack over
"""


RENEWING = b"""#!/bin/sh
while :; do udhcpc -f -n -q -t 3 -i eth0 -s /bin/true; sleep 1; done >/dev/console 2>&1 </dev/null &
"""
"""Has a guest ask for its address again and again, and say who gave it."""


def address(number: int) -> str:
    return f"10.42.0.{number}"


def watching(*others: int) -> Secrets:
    """Have a guest say every second which MAC it knows for each of these, and whether they answer."""
    lines = [
        f"ping -c 1 -W 1 {address(each)} >/dev/null 2>&1 && echo reached {address(each)}; "
        f"ip neigh show {address(each)} | sed 's/^/neighbour /'"
        for each in others
    ]
    loop = f"while :; do {'; '.join(lines)}; sleep 1; done >/dev/console </dev/null &"
    return Secrets(user_data=f"#!/bin/sh\n{loop}\n".encode())


def guest_of(place: Place, host: int, number: int) -> GuestSpec:
    nics = (nic(place, host, number, NETWORK, SEGMENT),)
    return a_guest(place.image, nics, hostname=f"g{number}", config_drive=False, disk=1 << 30)


async def test_a_guest_sends_what_is_its_own_and_nothing_else(place: Place) -> None:
    victim, witness, attacker = (
        guest_of(place, host, number) for host, number in ((0, VICTIM), (1, WITNESS), (0, ATTACKER))
    )
    gateway_mac = NetworkRecord.of(victim.nics[0]).gateway_mac
    script = ATTACK
    for name, value in (
        ("VICTIM", address(VICTIM)),
        ("WITNESS", address(WITNESS)),
        ("FREE", address(STOLEN)),
        ("GATEWAY_MAC", gateway_mac),
        ("GATEWAY", GATEWAY),
    ):
        script = script.replace(f"@{name}@", value)
    async with (
        opened(place.hosts[0], place.store) as here,
        opened(place.hosts[1], place.store) as there,
        telling(here),
        telling(there),
    ):
        await asyncio.gather(
            run(here, victim, Secrets(password="VictimPassw0rd", user_data=RENEWING)),
            run(there, witness, watching(VICTIM)),
        )
        await said(here, victim, "gostack-guest: ready")
        await said(there, witness, f"reached {address(VICTIM)}")
        await run(here, attacker, Secrets(user_data=script.encode()))
        console = await said(here, attacker, "attack over")
        outcome = [line.strip() for line in console.splitlines() if line.startswith(("works: ", "fails: "))]
        assert outcome == [
            "works: its own address",
            "works: its own metadata",
            "fails: the victim's address, to the gateway",
            "fails: the victim's address, across",
            "fails: the victim's metadata",
            "fails: an address that is nobody's",
            "fails: another MAC",
            "fails: the gateway's MAC",
            "works: its own address again",
        ], console
        assert "VictimPassw0rd" not in console
        for guest, host in ((victim, 0), (witness, 1)):
            assert await answers(place.hosts[host], SEGMENT, guest.nics[0].ip)
        renewed = (await here.console_log(victim.id, 1 << 16)).decode(errors="replace")
        leases = {line.split("lease of ")[1].split(",")[0] for line in renewed.splitlines() if "lease of " in line}
        assert leases == {f"{address(VICTIM)} obtained from {GATEWAY}"}
        heard = (await there.console_log(witness.id, 1 << 16)).decode(errors="replace")
        known = {line.split("lladdr ")[1].split()[0] for line in heard.splitlines() if "lladdr " in line}
        assert known == {victim.nics[0].mac}, "a neighbour believed what the attacker said of the victim's address"
        rules = await asyncio.to_thread(place.hosts[0].real.nft, "list", "chain", "bridge", "gostack", "from_guest")
        dhcp = next(line for line in rules.splitlines() if "udp sport 67" in line)
        assert int(dhcp.split("packets ")[1].split()[0]) >= 2, "a guest's DHCP offers go through"
        for driver, guest in ((here, victim), (there, witness), (here, attacker)):
            await remove(driver, guest)


async def test_a_machine_that_is_no_host_reaches_no_guest(place: Place) -> None:
    """It is on the wire between the hosts, knows the segment, and sends what a host would."""
    guest = guest_of(place, 0, VICTIM)
    with place.stranger("10.77.0.9/24") as stranger:

        def join(to: str) -> None:
            stranger.ip("link", "add", "gsx", "type", "vxlan", "id", str(SEGMENT), "dev", "up0", "dstport", "4789")
            stranger.run("bridge", "fdb", "append", "00:00:00:00:00:00", "dev", "gsx", "dst", to)
            stranger.ip("address", "add", f"{address(STOLEN)}/24", "dev", "gsx")
            stranger.ip("link", "set", "gsx", "up")

        def reaches() -> bool:
            ping = ["ping", "-c", "3", "-i", "0.3", "-W", "2", address(VICTIM)]
            return stranger.run(*ping, check=False).returncode == 0

        async with opened(place.hosts[0], place.store) as driver, telling(driver):
            await run(driver, guest, Secrets())
            await said(driver, guest, "gostack-guest: ready")
            await asyncio.to_thread(join, UPLINKS[0])
            assert not await asyncio.to_thread(reaches)
            assert "10.77.0.9" not in await asyncio.to_thread(
                place.hosts[0].real.bridge, "fdb", "show", "dev", f"gsx-{SEGMENT}"
            ), "the host would answer it"
            # As a host it does: nothing else stands in its way.
            await driver.know_hosts(dict.fromkeys((*UPLINKS, "10.77.0.9"), ""))
            assert await asyncio.to_thread(reaches)
            await driver.know_hosts(dict.fromkeys(UPLINKS, ""))
            assert not await asyncio.to_thread(reaches)
            # Somebody takes all rules of the host away: the next look has them again.
            await asyncio.to_thread(place.hosts[0].real.nft, "flush", "ruleset")
            await driver.know_hosts(dict.fromkeys(UPLINKS, ""))
            assert not await asyncio.to_thread(reaches)
            rules = await asyncio.to_thread(place.hosts[0].real.nft, "list", "table", "bridge", "gostack")
            assert guest.nics[0].mac in rules
            await remove(driver, guest)
