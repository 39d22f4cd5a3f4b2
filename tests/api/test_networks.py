"""Networks and ports through the API."""

import pytest

from tests.api.api import Api


async def test_networks_have_segments_of_their_own(empty: Api) -> None:
    one = await empty.post("/networks", {"name": "lan", "cidr": "10.0.0.0/24"})
    two = await empty.post("/networks", {"name": "lan2", "cidr": "10.0.0.0/24"})
    assert (one["segment"], two["segment"]) == (1, 2)
    assert await empty.get("/networks/lan") == one
    assert [each["name"] for each in (await empty.get("/networks", project_id="admin"))["networks"]] == ["lan2", "lan"]


async def test_the_same_key_is_the_same_network(empty: Api) -> None:
    body = {"name": "lan", "cidr": "10.0.0.0/24"}
    one = await empty.post("/networks", body, Idempotency_Key="k")
    assert await empty.post("/networks", body, Idempotency_Key="k") == one
    other = await empty.post("/networks", body | {"name": "x"}, 422, Idempotency_Key="k")
    assert other["code"] == "idempotency-key-reused"
    elsewhere = await empty.post("/zones", {"name": "z"}, 422, Idempotency_Key="k")
    assert elsewhere["code"] == "idempotency-key-reused"
    await empty.post("/networks", body, Idempotency_Key="k", X_GoStack_Project="other")
    assert len((await empty.get("/networks"))["networks"]) == 2


@pytest.mark.parametrize("cidr", ["10.0.0.1/24", "10.0.0.0/15", "10.0.0.0/30", "fd00::/64", "lan"])
async def test_what_is_no_network(empty: Api, cidr: str) -> None:
    refused = await empty.post("/networks", {"name": "lan", "cidr": cidr}, 422)
    assert refused["errors"][0]["field"] == "cidr"


async def test_a_ports_life(api: Api) -> None:
    network = await api.get("/networks/lan")
    port = await api.post("/ports", {"network": "lan", "name": "db", "ip": "10.0.0.9"})
    assert (port["ip"], port["network_id"], port["keep"]) == ("10.0.0.9", network["id"], True)
    chosen = await api.post("/ports", {"network": network["id"]})
    assert chosen["ip"] == "10.0.0.10"
    taken = await api.post("/ports", {"network": "lan", "ip": "10.0.0.9"}, 409)
    assert (taken["code"], taken["values"]["port"]) == ("address-taken", port["id"])
    outside = await api.post("/ports", {"network": "lan", "ip": "10.1.0.9"}, 422)
    assert outside["code"] == "invalid"
    assert (await api.post("/ports", {"network": "lan", "ip": "nine"}, 422))["errors"][0]["field"] == "ip"
    assert (await api.post("/ports", {"network": "wan"}, 404))["values"]["kind"] == "network"
    assert [each["name"] for each in (await api.get("/ports", network="lan", ip="10.0.0.9"))["ports"]] == ["db"]
    assert (await api.delete("/networks/lan", 409))["code"] == "in-use"
    gone = await api.delete("/ports/db")
    assert gone["id"] == port["id"]
    assert (await api.delete("/ports/db", 404))["code"] == "not-found"
    assert [each["id"] for each in (await api.get("/ports"))["ports"]] == [chosen["id"]]
    await api.delete(f"/ports/{chosen['id']}")
    assert (await api.delete("/networks/lan"))["deleted"]
    assert (await api.delete(f"/networks/{network['id']}", 404))["code"] == "not-found"


async def test_a_port_in_use_stays(api: Api) -> None:
    port = await api.post("/ports", {"network": "lan", "name": "db"})
    await api.booted("db", port="db")
    refused = await api.delete(f"/ports/{port['id']}", 409)
    assert refused["code"] == "in-use"
    assert [each["id"] for each in (await api.get("/ports", instance="db"))["ports"]] == [port["id"]]


async def test_a_network_without_addresses_left(api: Api) -> None:
    await api.post("/networks", {"name": "few", "cidr": "10.5.0.0/29"})
    for _ in range(5):
        await api.post("/ports", {"network": "few"})
    refused = await api.post("/ports", {"network": "few"}, 409)
    assert refused["code"] == "no-address-left"


async def test_a_range_that_the_operator_reserves_is_refused(api: Api) -> None:
    settings = api.services.settings
    settings.networks = settings.networks.model_copy(update={"reserved": "10.97.0.0/24, 192.0.2.0/24"})
    for cidr in ("10.97.0.0/24", "10.97.0.64/26", "10.97.0.0/16"):
        refused = await api.post("/networks", {"name": "greedy", "cidr": cidr}, 422)
        assert "outside of 10.97.0.0/24" in refused["detail"], cidr
    await api.post("/networks", {"name": "beside", "cidr": "10.97.1.0/24"})


async def test_a_networks_ipv6_range_and_the_addresses_in_it(api: Api) -> None:
    made = await api.post("/networks", {"name": "six", "cidr": "10.6.0.0/24", "cidr6": "FD00:6::/64"})
    assert (made["cidr6"], made["ipv6_mode"]) == ("fd00:6::/64", "slaac")
    port = await api.post("/ports", {"network": "six", "mac": "52:54:00:12:34:56", "name": "db"})
    assert port["ip6"] == "fd00:6::5054:ff:fe12:3456"
    instance = await api.booted("db", port="db")
    (nic,) = instance["nics"]
    assert (nic["ip6"], nic["gateway6"]) == (port["ip6"], "fd00:6::1")
    assert instance["addresses"] == [port["ip"], port["ip6"]]
    found = await api.get("/instances", ip="fd00:6:0::5054:00ff:fe12:3456")
    assert [each["name"] for each in found["instances"]] == ["db"]
    (interface,) = (await api.get("/instances/db/interfaces"))["interfaces"]
    assert interface["ip6"] == port["ip6"]
    assert (await api.patch("/networks/six", {"cidr6": "fd00:7::/64"}, 409))["code"] == "in-use"


async def test_a_network_that_gets_a_range_has_its_ports_addresses(api: Api) -> None:
    before = await api.post("/ports", {"network": "lan", "name": "old"})
    assert (before["ip6"], (await api.get("/networks/lan"))["ipv6_mode"]) == ("", "")
    changed = await api.patch("/networks/lan", {"cidr6": "fd00:6::/64", "ipv6_mode": "dhcpv6"})
    assert (changed["cidr6"], changed["ipv6_mode"]) == ("fd00:6::/64", "dhcpv6")
    assert (await api.get("/ports/old"))["ip6"].startswith("fd00:6::")


@pytest.mark.parametrize("cidr6", ["fd00:6::/63", "fe80::/64", "10.0.0.0/24", "::ffff:0:0/96", "six", "fd00:99::/64"])
async def test_an_ipv6_range_that_is_none_or_reserved(api: Api, cidr6: str) -> None:
    settings = api.services.settings
    settings.networks = settings.networks.model_copy(update={"reserved": "10.97.0.0/24, fd00:90::/28"})
    body = {"name": "six", "cidr": "10.6.0.0/24", "cidr6": cidr6}
    assert "cidr6" in str(await api.post("/networks", body, 422))
    assert "cidr6" in str(await api.patch("/networks/lan", {"cidr6": cidr6}, 422))
    assert (await api.get("/networks/lan"))["cidr6"] == ""
