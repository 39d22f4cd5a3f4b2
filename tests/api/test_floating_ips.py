"""Floating addresses through the API, and what hosts are told of them."""

import asyncio
from typing import Any

from api.hosts.port_settings import PortSettingsReader
from domain.network.port_settings import HostPorts
from tests.api.api import Api

RANGE = "192.0.2.0/30"


async def external(api: Api, name: str = "dmz") -> str:
    """A network with a way out."""
    made = await api.post("/networks", {"name": name, "cidr": "10.9.0.0/24", "external": True})
    return str(made["id"])


async def known(api: Api, *ports: dict[str, Any]) -> HostPorts:
    return await PortSettingsReader(api.services.store).read([(each["network_id"], each["ip"]) for each in ports])


async def test_without_ranges_there_are_none(api: Api) -> None:
    refused = await api.post("/floating-ips", {}, 409)
    assert refused["code"] == "no-floating-addresses"
    assert "networks.floating" in refused["detail"]


async def test_each_address_is_given_once(api: Api) -> None:
    api.floating(RANGE)
    asked = await api.post("/floating-ips", {"address": "192.0.2.2"})
    assert (asked["name"], asked["port_id"], asked["project_id"]) == ("192.0.2.2", "", "admin")
    taken = await api.post("/floating-ips", {"address": "192.0.2.2"}, 409, X_GoStack_Project="other")
    assert taken["code"] == "already-exists"
    others = [(await api.post("/floating-ips", {}))["name"] for _ in range(3)]
    assert sorted(others) == ["192.0.2.0", "192.0.2.1", "192.0.2.3"]
    assert (await api.post("/floating-ips", {}, 409))["code"] == "no-floating-address-left"
    for wrong in ("192.0.2.4", "web", "192.0.2.02", ""):
        if wrong:
            outside = await api.post("/floating-ips", {"address": wrong}, 422)
            assert outside["values"]["field"] == "address", wrong
            assert RANGE in outside["detail"], wrong
    await api.delete("/floating-ips/192.0.2.2")
    again = await api.post("/floating-ips", {})
    assert again["name"] == "192.0.2.2"
    assert again["id"] != asked["id"]


async def test_a_range_of_floating_addresses_is_no_networks(api: Api) -> None:
    api.floating("10.8.0.0/24")
    refused = await api.post("/networks", {"name": "greedy", "cidr": "10.8.0.0/16"}, 422)
    assert "outside of 10.8.0.0/24" in refused["detail"]


async def test_an_address_leads_to_a_port_of_a_network_with_a_way_out(api: Api) -> None:
    api.floating(RANGE)
    await external(api)
    await api.post("/floating-ips", {"address": "192.0.2.1"})
    inside = await api.post("/ports", {"network": "lan", "name": "inside"})
    port = await api.post("/ports", {"network": "dmz", "name": "web"})
    refused = await api.post("/floating-ips/192.0.2.1/associate", {"port": "inside"}, 409)
    assert (refused["code"], refused["values"]["network"]) == ("no-way-out", "lan")
    for body in ({}, {"port": "web", "instance": "web"}):
        assert (await api.post("/floating-ips/192.0.2.1/associate", body, 422))["code"] == "invalid"
    led = await api.post("/floating-ips/192.0.2.1/associate", {"port": "web"}, 200)
    assert (led["port_id"], led["network_id"], led["ip"]) == (port["id"], port["network_id"], port["ip"])
    await api.post("/floating-ips/192.0.2.1/associate", {"port": "web"}, 200)
    assert await api.get("/floating-ips/192.0.2.1") == led
    assert (await api.delete("/floating-ips/192.0.2.1", 409))["code"] == "in-use"
    for found in ({"network": "dmz"}, {"port_id": port["id"]}):
        assert [each["name"] for each in (await api.get("/floating-ips", **found))["floating-ips"]] == ["192.0.2.1"]
    assert (await api.get("/floating-ips", network="lan"))["floating-ips"] == []
    # Once the network has a way out, its ports can be led to.
    await api.patch("/networks/lan", {"external": True})
    other = await api.post("/ports", {"network": "dmz"})
    taken = await api.post("/floating-ips/192.0.2.1/associate", {"port": other["id"]}, 409)
    assert taken["code"] == "in-use"
    free = await api.post("/floating-ips/192.0.2.1/disassociate", {}, 200)
    assert (free["port_id"], free["network_id"], free["ip"]) == ("", "", "")
    led = await api.post("/floating-ips/192.0.2.1/associate", {"port": "inside"}, 200)
    assert led["port_id"] == inside["id"]


async def test_an_instance_is_led_to_by_its_first_port_on_a_network_with_a_way_out(api: Api) -> None:
    api.floating(RANGE)
    await api.post("/floating-ips", {"address": "192.0.2.1"})
    await external(api)
    await api.booted("inside", network="lan")
    await api.booted("web", networks=["lan", "dmz"])
    refused = await api.post("/floating-ips/192.0.2.1/associate", {"instance": "inside"}, 409)
    assert (refused["code"], refused["values"]["network"]) == ("no-way-out", "lan")
    led = await api.post("/floating-ips/192.0.2.1/associate", {"instance": "web"}, 200)
    (port,) = (await api.get("/ports", network="dmz"))["ports"]
    assert led["port_id"] == port["id"]
    assert (await api.post("/floating-ips/192.0.2.1/associate", {"instance": "nobody"}, 404))["code"] == "not-found"


async def test_hosts_are_told_which_of_them_answers(api: Api) -> None:
    api.floating(RANGE)
    await external(api)
    await api.booted("web", network="dmz")
    (port,) = (await api.get("/ports", network="dmz"))["ports"]
    before = await known(api, port)
    assert before.ports[0].floating == ()
    for address in ("192.0.2.1", "192.0.2.2"):
        await api.post("/floating-ips", {"address": address})
    assert (await known(api, port)).version == before.version
    for address in ("192.0.2.2", "192.0.2.1"):
        await api.post(f"/floating-ips/{address}/associate", {"port": port["id"]}, 200)
    led = await known(api, port)
    assert led.version != before.version
    assert (led.ports[0].floating, led.ports[0].host_id) == (("192.0.2.1", "192.0.2.2"), port["host_id"])
    assert led.ports[0].host_id
    await api.patch("/networks/dmz", {"external": False})
    assert (await known(api, port)).ports[0].floating == ()
    await api.patch("/networks/dmz", {"external": True})
    await api.post("/floating-ips/192.0.2.2/disassociate", {}, 200)
    one = await known(api, port)
    assert one.ports[0].floating == ("192.0.2.1",)
    assert one.version not in (before.version, led.version)


async def test_an_address_does_not_pass_to_the_next_port_of_the_same_address(api: Api) -> None:
    api.floating(RANGE)
    await external(api)
    await api.post("/floating-ips", {"address": "192.0.2.1"})
    first = await api.post("/ports", {"network": "dmz", "name": "first", "ip": "10.9.0.9"})
    await api.post("/floating-ips/192.0.2.1/associate", {"port": "first"}, 200)
    assert (await known(api, first)).ports[0].floating == ("192.0.2.1",)
    await api.delete("/ports/first")
    assert (await known(api, first)).ports == ()
    second = await api.post("/ports", {"network": "dmz", "name": "second", "ip": "10.9.0.9"})
    assert second["id"] != first["id"]
    assert (await known(api, second)).ports[0].floating == ()
    # What it led to is gone, and it can lead elsewhere.
    assert (await api.get("/floating-ips/192.0.2.1"))["port_id"] == first["id"]
    await api.post("/floating-ips/192.0.2.1/disassociate", {}, 200)
    await api.post("/floating-ips/192.0.2.1/associate", {"port": "second"}, 200)
    assert (await known(api, second)).ports[0].floating == ("192.0.2.1",)


async def test_requests_at_one_time_have_different_addresses_or_are_refused(api: Api) -> None:
    api.floating("192.0.2.0/29")
    made = await asyncio.gather(*(api.http.post("/v1/floating-ips", json={}) for _ in range(4)))
    names = [each.json()["name"] for each in made if each.status_code == 201]
    assert names
    assert len(names) == len(set(names))
    assert {each.status_code for each in made} <= {201, 409}
