"""Security groups, and the settings of ports that hosts ask for, through the API."""

import asyncio
from typing import Any

import httpx
import pytest

from api.hosts import rule_counters
from api.hosts.agent_client import Agents
from api.hosts.port_settings import PortSettingsReader
from domain.core.messages import named_id
from domain.network.port_settings import HostPorts
from domain.security_group import default_id
from tests.api.api import Api


async def settings(api: Api, *ports: dict[str, Any]) -> HostPorts:
    reader = PortSettingsReader(api.services.store)
    return await reader.read((port["network_id"], port["ip"]) for port in ports)


async def test_a_group_its_rules_and_who_is_in_it(api: Api) -> None:
    group = await api.post("/security-groups", {"name": "web", "description": "what the world may reach"})
    assert [rule["direction"] for rule in group["rules"].values()] == ["egress"]
    body = {"protocol": "tcp", "port_min": 443}
    changed = await api.post("/security-groups/web/rules", body)
    (rule,) = (each for each in changed["rules"].values() if each["direction"] == "ingress")
    assert (rule["port_min"], rule["port_max"], rule["cidr"]) == (443, 443, "")
    assert (await api.post("/security-groups/web/rules", body, 200))["already"] is True
    await api.post("/ports", {"network": "lan", "name": "db", "security_group_ids": ["web", "default"]})
    port = await api.get("/ports/db")
    assert port["security_group_ids"] == [group["id"], default_id("admin")]
    assert [each["name"] for each in (await api.get("/ports", security_group="web"))["ports"]] == ["db"]
    refused = await api.delete("/security-groups/web", 409)
    assert port["id"] in refused["detail"]
    await api.patch("/ports/db", {"security_group_ids": []})
    after = await api.delete(f"/security-groups/web/rules/{rule['id']}")
    assert rule["id"] not in after["rules"]
    await api.delete("/security-groups/web")
    assert (await api.delete("/security-groups/default", 409))["code"] == "default-group"


async def test_the_default_group_is_there_with_the_first_network(api: Api) -> None:
    group = await api.get("/security-groups/default")
    assert group["id"] == default_id("admin")
    assert {rule["remote_group"] for rule in group["rules"].values()} == {"", group["id"]}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"direction": "sideways"}, "direction"),
        ({"protocol": "sctp"}, "protocol"),
        ({"port_min": 70000, "protocol": "tcp"}, "port_min"),
        ({"cidr": "nonsense"}, "cidr"),
        ({"remote_group": "nobody"}, "nobody"),
    ],
)
async def test_a_rule_that_is_none_is_refused_by_its_field(api: Api, body: dict[str, Any], field: str) -> None:
    refused = await api.post("/security-groups/default/rules", body, 404 if field == "nobody" else 422)
    assert field in str(refused)


async def test_hosts_are_told_ipv6_ranges_and_the_members_addresses_in_them(api: Api) -> None:
    six = await api.post("/networks", {"name": "six", "cidr": "10.6.0.0/24", "cidr6": "fd00:6::/64"})
    port = await api.post("/ports", {"network": "six", "name": "new"})
    old = await api.post("/ports", {"network": "lan", "name": "old"})
    known = await settings(api, port, old)
    assert {ident: (each.cidr, each.mode) for ident, each in known.ranges6.items()} == {
        six["id"]: ("fd00:6::/64", "slaac")
    }
    default = default_id("admin")
    assert known.members6 == {default: {six["id"]: (port["ip6"],)}}
    assert known.members[default] == {six["id"]: (port["ip"],), old["network_id"]: (old["ip"],)}
    await api.patch("/networks/lan", {"cidr6": "fd00:7::/64"})
    later = await settings(api, port, old)
    assert later.version != known.version
    assert later.members6[default][old["network_id"]] == ((await api.get("/ports/old"))["ip6"],)


async def test_what_hosts_are_told_changes_with_ports_and_groups(api: Api) -> None:
    here = await api.post("/ports", {"network": "lan", "name": "here"})
    there = await api.post("/ports", {"network": "lan", "name": "there", "security_group_ids": ["default"]})
    known = await settings(api, here)
    default = default_id("admin")
    (port,) = known.ports
    assert port.security_groups == (default,)
    assert known.members == {default: {here["network_id"]: tuple(sorted((here["ip"], there["ip"])))}}
    assert (await settings(api, here)).version == known.version
    await api.post("/security-groups/default/rules", {"protocol": "icmp"})
    more = await settings(api, here)
    assert more.version != known.version
    assert len(more.groups[default]) == len(known.groups[default]) + 1
    await api.patch("/ports/here", {"port_security": False, "allowed_pairs": [{"cidr": "10.9.0.0/24"}]})
    (port,) = (await settings(api, here)).ports
    assert not port.port_security
    assert port.allowed_pairs[0].cidr == "10.9.0.0/24"
    assert (await settings(api)).ports == ()


async def test_an_instance_has_the_groups_that_it_was_booted_with(api: Api) -> None:
    group = await api.post("/security-groups", {"name": "web"})
    body = {"name": "a", "flavor": "small", "image": "tiny", "network": "lan", "security_group_ids": ["web"]}
    await api.post("/instances", body, 202)
    await api.world.settle()
    ports = (await api.get("/ports", instance="a"))["ports"]
    assert [port["security_group_ids"] for port in ports] == [[group["id"]]]
    assert "nobody" in str(await api.post("/instances", {**body, "security_group_ids": ["nobody"]}, 404))


def counting(api: Api, counts: dict[str, int | Exception | float]) -> None:
    """The agents of hosts, by name, that have counted so many packets for each rule, fail, or take so many seconds."""
    by_id = {named_id("host", name): count for name, count in counts.items()}

    async def door(request: httpx.Request) -> httpx.Response:
        _, _, _, host, _, group, what = request.url.path.split("/")
        assert (request.headers["Authorization"], what) == ("Bearer agents-and-api", "counters")
        count = by_id[host]
        if isinstance(count, Exception):
            raise count
        if isinstance(count, float):
            await asyncio.sleep(count)
        rules = (await api.get(f"/security-groups/{group}"))["rules"]
        return httpx.Response(200, json={"rules": {rule: {"packets": count, "bytes": 60 * count} for rule in rules}})

    api.services.agents = Agents(api.services.store, "agents-and-api", httpx.MockTransport(door))


async def test_what_rules_have_permitted_is_summed_over_the_hosts_of_the_group(api: Api) -> None:
    for name in ("h2", "h3"):
        await api.world.host(name)
    await api.post("/security-groups", {"name": "web"})
    for number, host in enumerate(("h1", "h2", "h2")):
        await api.ended((await api.boot(f"i{number}", host=host, security_group_ids=["web"]))["task_id"])
    counting(api, {"h1": 3, "h2": 4, "h3": AssertionError("h3 has no guest of the group")})
    found = await api.get("/security-groups/web/counters")
    (rule,) = found["rules"]
    assert (rule["direction"], rule["packets"], rule["bytes"]) == ("egress", 7, 420)
    assert (found["hosts"], found["silent"], found["silent_hosts"], found["complete"]) == (2, 0, [], True)
    assert (await api.get("/security-groups/nobody/counters", 404))["code"] == "not-found"


@pytest.mark.parametrize("silent", [httpx.ConnectError("nobody there"), 0.5])
async def test_hosts_that_do_not_answer_in_time_are_named(
    api: Api, silent: Exception | float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rule_counters, "DEADLINE", 0.1)
    await api.world.host("h2")
    for number, host in enumerate(("h1", "h2")):
        await api.ended((await api.boot(f"i{number}", host=host))["task_id"])
    counting(api, {"h1": 5, "h2": silent})
    found = await api.get("/security-groups/default/counters")
    assert {rule["packets"] for rule in found["rules"]} == {5}
    assert (found["hosts"], found["silent"], found["silent_hosts"], found["complete"]) == (1, 1, ["h2"], False)


async def test_a_group_without_ports_asks_nobody(api: Api) -> None:
    await api.post("/security-groups", {"name": "idle"})
    counting(api, {})
    found = await api.get("/security-groups/idle/counters")
    assert [rule["packets"] for rule in found["rules"]] == [0]
    assert (found["hosts"], found["complete"]) == (0, True)


async def test_ports_that_were_not_looked_at_make_the_sums_incomplete(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rule_counters, "MOST_PORTS", 1)
    for name in ("one", "two"):
        await api.post("/ports", {"network": "lan", "name": name})
    counting(api, {})
    assert (await api.get("/security-groups/default/counters"))["complete"] is False
