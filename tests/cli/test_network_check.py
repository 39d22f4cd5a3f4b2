"""gostack check says how the networks on hosts differ from what the hosts keep, and that from the log."""

from typing import Any

import aiohttp
import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from agent.drivers.simulated.driver import SimulatedDriver
from agent.host.endpoint import endpoint
from cli.agents import AgentSilent, networks_by_http
from domain.core.messages import Key
from domain.host.state import Host
from domain.instance.actions.lifecycle.delete import DeleteInstance, HardDeleteInstance
from domain.instance.actions.power.stop import StopInstance
from domain.instance.state import Instance
from domain.network.messages import UpdateNetwork
from domain.network.on_host import AddressOnHost, HostDifference, HostNetworks, NetworkOnHost
from tests.cli.test_check import H1, WEB, broken, checked, state, world
from tests.domain.instances import NETWORK
from tests.harness.world import World

__all__ = ["world"]


def address(instance: Instance) -> AddressOnHost:
    nic = instance.nics[0]
    return AddressOnHost(ip=nic.ip, mac=nic.mac, instance_id=instance.id)


def keeping(*addresses: AddressOnHost, network: str = NETWORK, segment: int = 1) -> HostNetworks:
    return HostNetworks(networks=(NetworkOnHost(id=network, segment=segment, addresses=addresses),))


async def found(world: World, **told: HostNetworks | None) -> list[str]:
    """The differences; a host that is not given keeps no networks, and has none."""

    async def networks(host: Host) -> HostNetworks | None:
        return told.get(host.name, HostNetworks())

    report = await checked(world, networks=networks)
    assert broken(report).keys() <= {"networks"}
    return report.problems["networks"]


async def home(world: World) -> tuple[Instance, str, str]:
    """The instance, the name of its host, and that of the other."""
    instance = await state(world)
    assert instance.host is not None
    here = instance.host.name
    return instance, here, {"h1": "h2", "h2": "h1"}[here]


async def test_hosts_that_keep_what_the_log_says(world: World) -> None:
    instance, here, _ = await home(world)
    assert await found(world, **{here: keeping(address(instance))}) == []
    for command in (StopInstance(), DeleteInstance()):
        await world.send(WEB, command)
        assert await found(world, **{here: keeping(address(instance))}) == []
    await world.send(WEB, HardDeleteInstance())
    assert await found(world) == []
    assert await found(world, **{here: keeping(address(instance))}) != []


async def test_hosts_without_networks_of_their_own_are_not_compared(world: World) -> None:
    assert await found(world, h1=None, h2=None) == []


async def test_what_a_host_has_otherwise_than_it_keeps_is_said(world: World) -> None:
    instance, here, other = await home(world)
    told = keeping(address(instance)).but(
        differences=(
            HostDifference(segment=1, what="bridge gsb-1", missing=True),
            HostDifference(segment=77, what="device gsx-77", missing=False),
            HostDifference(what="chain inet input of table gostack", missing=True),
        ),
        more=3,
    )
    assert await found(world, **{here: told}) == [
        f"host {here}, network {NETWORK}: bridge gsb-1 is missing",
        f"host {here}, network of segment 77: device gsx-77 is too much",
        f"host {here}, all networks: chain inet input of table gostack is missing",
        f"host {here}: 3 differences more",
    ]
    # Of a network that this host does not keep, the log knows the segment.
    told = HostNetworks(differences=(HostDifference(segment=1, what="device gsb-1", missing=False),))
    lines = await found(world, **{here: keeping(address(instance)), other: told})
    assert lines == [f"host {other}, network {NETWORK}: device gsb-1 is too much"]


async def test_a_host_that_keeps_another_ipv6_range_is_said(world: World) -> None:
    instance, here, _ = await home(world)
    await world.send(Key("network", NETWORK), UpdateNetwork(cidr6="fd00:1::/64"))
    told = keeping(address(instance))
    assert await found(world, **{here: told}) == [
        f"host {here}, network {NETWORK}: IPv6 range is fd00:1::/64, and is kept as none"
    ]
    ranged = told.networks[0].but(cidr6="fd00:1::/64")
    assert await found(world, **{here: told.but(networks=(ranged,))}) == []


async def test_what_a_host_keeps_otherwise_than_the_log_says_is_said(world: World) -> None:
    instance, here, other = await home(world)
    own = address(instance)
    at = f"host {here}, network {NETWORK}: address {own.ip} of instance {instance.id}"
    assert await found(world) == [f"{at} is missing"]
    assert await found(world, **{here: keeping(own.but(mac="52:54:00:00:00:01"))}) == [
        f"{at} is kept with MAC address 52:54:00:00:00:01, and is {own.mac}"
    ]
    nobody = "00000000-0000-0000-0000-0000000000ff"
    assert await found(world, **{here: keeping(own.but(instance_id=nobody))}) == [
        f"{at} is missing",
        f"host {here}, network {NETWORK}: address {own.ip} of instance {nobody} is too much",
    ]
    assert await found(world, **{here: keeping(own), other: keeping(own)}) == [
        f"host {other}, network {NETWORK}: address {own.ip} of instance {instance.id} is too much"
    ]
    assert await found(world, **{here: keeping(own), other: keeping(own, network=nobody, segment=9)}) == [
        f"host {other}, network {nobody}: address {own.ip} of instance {instance.id} is too much"
    ]


async def test_what_is_under_way_is_no_difference(world: World) -> None:
    world.stopped.add("agents")
    await world.send(WEB, HardDeleteInstance())
    assert (await state(world)).task is not None
    instance, here, _ = await home(world)
    assert await found(world) == []
    assert await found(world, **{here: keeping(address(instance))}) == []


async def test_an_agent_that_does_not_tell_of_its_networks_is_named(world: World) -> None:
    async def networks(host: Host) -> HostNetworks | None:
        if host.name == "h2":
            raise AgentSilent("it is busy")
        return None

    report = await checked(world, networks=networks)
    assert broken(report) == {"networks": ["the agent of host h2 does not tell of its networks"]}


async def asked(answer: web.Response) -> HostNetworks | None:
    async def networks(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer t"
        return answer

    app = web.Application()
    app.router.add_get(f"/v1/hosts/{H1.id}/networks", networks)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        return await networks_by_http(session, "t")(host_at(str(server.make_url("/"))))


def host_at(url: str) -> Host:
    known: dict[str, Any] = {"id": H1.id, "name": "h1", "endpoint": url}
    return Host.model_construct(**known)


async def test_agents_are_asked_for_their_networks() -> None:
    told = keeping(AddressOnHost(ip="10.0.0.2", mac="52:54:00:00:00:01", instance_id=WEB.id))
    assert await asked(web.json_response(told.model_dump())) == told
    assert await asked(web.json_response(None)) is None
    assert await asked(web.Response(status=404)) is None, "an agent of an earlier release does not know the question"
    for answer in (web.Response(status=503), web.json_response({"networks": 5}), web.Response(text="no JSON")):
        with pytest.raises(AgentSilent):
            await asked(answer)


async def test_the_agents_own_endpoint_is_what_the_check_asks() -> None:
    told = keeping(AddressOnHost(ip="10.0.0.2", mac="52:54:00:00:00:01", instance_id=WEB.id))

    class Keeping(SimulatedDriver):
        async def networks(self) -> HostNetworks | None:
            return told

    transport = httpx.ASGITransport(app=endpoint({H1.id: Keeping()}, "t", lambda _: {}))
    async with httpx.AsyncClient(transport=transport, base_url="http://agent") as client:
        answer = await client.get(f"/v1/hosts/{H1.id}/networks", headers={"Authorization": "Bearer t"})
    assert await asked(web.json_response(answer.json())) == told
