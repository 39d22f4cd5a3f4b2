"""Network interfaces through the API: given to an instance and taken away, with an address of its own or a port's."""

from pathlib import Path
from typing import Any

from agent.drivers.simulated.driver import SimulatedDriver
from tests.harness.whole import ended, whole


async def test_an_instance_is_given_an_interface_and_gives_it_back(tmp_path: Path) -> None:
    driver = SimulatedDriver()
    async with whole(tmp_path, {"h1": driver}) as api:
        booted = await api.post("/instances", {"name": "web", "flavor": "small", "image": "tiny"}, 202)
        await ended(api, booted["task_id"])
        await api.post("/networks", {"name": "back", "cidr": "10.9.0.0/24"}, 201)
        port = await api.post("/ports", {"network": "back", "name": "db", "ip": "10.9.0.77"}, 201)

        async def act(verb: str, **body: str) -> dict[str, Any]:
            task = await api.post(f"/instances/web/actions/{verb}-interface", body, 202)
            return await ended(api, task["task_id"])

        async def addresses() -> list[str]:
            listed = (await api.get("/instances/web/interfaces"))["interfaces"]
            shown = (await api.get("/instances/web"))["addresses"]
            assert shown == [each["ip"] for each in listed]
            assert driver.interfaces(booted["id"]) == len(shown)
            return [address for address in shown if address.startswith("10.9.")]

        assert (await act("attach", network="back", ip="10.9.0.9"))["status"] == "finished"
        assert (await act("attach", port="db"))["status"] == "finished"
        assert (await act("attach", network="back"))["status"] == "finished"
        first, second, third = await addresses()
        assert (first, second) == ("10.9.0.9", "10.9.0.77")
        assert third not in (first, second)
        again = await api.post("/instances/web/actions/attach-interface", {"port": "db"}, 409)
        assert again["detail"] == f"Port {port['id']} is in use by this very instance."
        assert (await act("attach", network="back", ip=third))["fault"]["code"] == "address-taken"
        assert await addresses() == [first, second, third], "what failed left nothing"

        driver.clinging.add(booted["id"])
        assert (await act("detach", port="db"))["fault"]["code"] == "interface-not-released"
        assert await addresses() == [first, second, third]
        driver.clinging.clear()
        made = next(each for each in (await api.get("/ports", instance="web"))["ports"] if each["ip"] == first)
        for each in ("db", made["id"]):
            assert (await act("detach", port=each))["status"] == "finished"
        assert await addresses() == [third]
        assert (await api.get("/ports/db"))["instance_id"] == ""
        await api.get(f"/ports/{made['id']}", 404)

        assert (await act("attach", port="db"))["status"] == "finished"
        gone = await api.post("/instances/web/actions/hard-delete", {}, 202)
        await ended(api, gone["task_id"])
        assert [each["id"] for each in (await api.get("/ports", network="back"))["ports"]] == [port["id"]]


async def test_interfaces_are_listed_with_the_settings_of_their_ports(tmp_path: Path) -> None:
    async with whole(tmp_path) as api:
        booted = await api.post("/instances", {"name": "web", "flavor": "small", "image": "tiny"}, 202)
        await ended(api, booted["task_id"])
        group = await api.post("/security-groups", {"name": "db"}, 201)
        own = {
            "port_security": False,
            "allowed_pairs": [{"cidr": "10.0.0.99/32", "mac": "52:54:00:00:00:99"}],
            "egress_kbit": 1000,
            "ingress_kbit": 2000,
        }
        asked = {"network": "lan", "name": "db", "mac": "52:54:00:00:00:07", "security_group_ids": ["db"], **own}
        port = await api.post("/ports", asked, 201)
        task = await api.post("/instances/web/actions/attach-interface", {"port": "db"}, 202)
        assert (await ended(api, task["task_id"]))["status"] == "finished"

        first, second = (await api.get("/instances/web/interfaces"))["interfaces"]
        assert [first["index"], second["index"]] == [0, 1]
        made = (await api.get(f"/ports/{first['port_id']}"))["security_group_ids"]
        assert (first["port_name"], first["port_security"], first["security_group_ids"]) == ("", True, made)
        assert (first["allowed_pairs"], first["egress_kbit"], first["ingress_kbit"]) == ([], 0, 0)
        assert {name: second[name] for name in own} == own
        assert (second["port_id"], second["port_name"], second["mac"]) == (port["id"], "db", "52:54:00:00:00:07")
        assert second["security_group_ids"] == [group["id"]]
        assert (second["network_name"], second["ip"]) == ("lan", port["ip"])

        await api.patch("/ports/db", {"egress_kbit": 0, "name": "store"})
        chosen = (await api.get("/instances/web/interfaces", fields="port_name,egress_kbit"))["interfaces"]
        assert chosen[1] == {"port_name": "store", "egress_kbit": 0}

        deleted = await api.delete("/instances/web", 202)
        await ended(api, deleted["task_id"])
        kept = (await api.get(f"/instances/{booted['id']}/interfaces"))["interfaces"]
        assert [(each["ip"], each["port_name"]) for each in kept] == [(first["ip"], ""), (second["ip"], "store")]
        gone = await api.post(f"/instances/{booted['id']}/actions/hard-delete", {}, 202)
        await ended(api, gone["task_id"])
        left = (await api.get(f"/instances/{booted['id']}/interfaces"))["interfaces"]
        assert [(each["network_name"], each["ip"]) for each in left] == [("lan", ""), ("lan", "")]
        # Nothing is said of a port that the interface does not have any more.
        assert left[0]["security_group_ids"] is left[0]["port_security"] is left[0]["port_name"] is None


async def test_an_interface_is_given_a_mac_address_and_groups_by_name_or_id(tmp_path: Path) -> None:
    async with whole(tmp_path) as api:
        booted = await api.post("/instances", {"name": "web", "flavor": "small", "image": "tiny"}, 202)
        await ended(api, booted["task_id"])
        db = (await api.post("/security-groups", {"name": "db"}, 201))["id"]
        logs = (await api.post("/security-groups", {"name": "logs"}, 201))["id"]
        verb = "/instances/web/actions/attach-interface"

        async def added(**body: Any) -> dict[str, Any]:
            task = await api.post(verb, {"network": "lan", **body}, 202)
            assert (await ended(api, task["task_id"]))["status"] == "finished"
            interface: dict[str, Any] = (await api.get("/instances/web/interfaces"))["interfaces"][-1]
            return interface

        mac = "52:54:00:AA:00:01"
        more = await added(mac=mac, ip="10.0.0.77", security_group_ids=["db", logs, db, "default"])
        assert (more["mac"], more["ip"]) == (mac.lower(), "10.0.0.77")
        (first, *_) = (await api.get("/instances/web/interfaces"))["interfaces"]
        # The project's default group need not have been used before.
        assert more["security_group_ids"] == [db, logs, *first["security_group_ids"]]
        assert (await added())["security_group_ids"] == first["security_group_ids"]
        nobody = "0d9a3c1e-6f1b-5d8e-9a53-7c2f0c4f6b11"
        for unknown in ("nope", nobody):
            refused = await api.post(verb, {"network": "lan", "security_group_ids": [unknown]}, 404)
            assert refused["detail"] == f"There is no security-group {unknown}."
        for wrong in ({"mac": "52:54"}, {"mac": mac}, {"security_group_ids": [""]}, {"security_group_ids": ["x"] * 17}):
            refused = await api.post(verb, {"network": "lan", **wrong}, 422)
            assert next(iter(wrong)) in str(refused)


async def test_a_boot_with_two_ports_of_one_mac_address_is_refused(tmp_path: Path) -> None:
    async with whole(tmp_path) as api:
        await api.post("/networks", {"name": "back", "cidr": "10.9.0.0/24"}, 201)
        for network in ("lan", "back"):
            await api.post("/ports", {"network": network, "name": network, "mac": "52:54:00:00:00:01"}, 201)
        body = {"name": "two", "flavor": "small", "image": "tiny", "ports": ["lan", "back"]}
        refused = await api.post("/instances", body, 422)
        assert (refused["code"], refused["values"]["field"]) == ("invalid", "ports")


async def test_what_cannot_be_is_refused_at_once(tmp_path: Path) -> None:
    async with whole(tmp_path) as api:
        booted = await api.post("/instances", {"name": "web", "flavor": "small", "image": "tiny"}, 202)
        await ended(api, booted["task_id"])
        port = await api.post("/ports", {"network": "lan", "name": "db"}, 201)
        verb = "/instances/web/actions"
        for body in ({}, {"network": "lan", "port": "db"}, {"port": "db", "ip": "10.0.0.9"}):
            assert (await api.post(f"{verb}/attach-interface", body, 422))["code"] == "invalid"
        for body in ({"network": "nope"}, {"port": "nope"}):
            assert (await api.post(f"{verb}/attach-interface", body, 404))["code"] == "not-found"
        refused = await api.post(f"{verb}/detach-interface", {"port": "db"}, 409)
        assert (refused["code"], refused["values"]["port"]) == ("interface-not-attached", port["id"])
