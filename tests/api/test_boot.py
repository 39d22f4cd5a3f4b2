"""Booting through the API: the way of a boot, and everything that can stand in it."""

import asyncio
import base64
import gzip
import uuid
from datetime import timedelta
from typing import Any

import pytest

from api.writes import told_once
from api.writes.boot import NOT_YET
from api.writes.boot_root import GIB
from api.writes.secret_sweep import sweep
from domain.core.messages import Key, Topic, named_id
from domain.instance.events import InstanceCreated
from tests.api.api import MIB, Api
from tests.harness.images import qcow2


async def test_a_boot_is_a_task_and_the_instance_runs(api: Api) -> None:
    given = await api.boot("Web Server")
    assert given["task_id"] == given["command_id"] == given["correlation_id"]
    assert given["instances"][0]["instance_id"] == given["id"] == given["instance_id"]
    task = await api.ended(given["task_id"])
    assert task["status"] == "finished"
    instance = await api.get(f"/instances/{given['id']}")
    assert instance["status"] == "active"
    assert instance["hostname"] == "web-server"
    assert instance["host"]["name"] == "h1"
    assert instance["addresses"] == ["10.0.0.2"]
    assert instance["disk"] == 1000
    assert instance["flavor"]["name"] == "small"
    assert instance["config_drive"] is True


async def test_the_answer_says_where_the_task_is(api: Api) -> None:
    body = {"name": "web", "flavor": "small", "image": "tiny"}
    answer = await api.http.post("/v1/instances", json=body)
    assert answer.headers["Location"] == f"/v1/tasks/{answer.json()['task_id']}"
    assert (await api.http.get(answer.headers["Location"])).status_code == 200


@pytest.mark.parametrize(
    ("body", "name", "hostname"),
    [
        ({"name": "Müller & Söhne"}, "Müller & Söhne", "m-ller-s-hne"),
        ({"name": None, "hostname": "db1"}, "db1", "db1"),
        ({"name": "web", "hostname": "www"}, "web", "www"),
        ({"name": "x" * 100}, "x" * 100, "x" * 63),
    ],
)
async def test_names(api: Api, body: dict[str, Any], name: str, hostname: str) -> None:
    given = await api.boot(**body)
    await api.world.settle()
    instance = await api.get(f"/instances/{given['id']}")
    assert (instance["name"], instance["hostname"]) == (name, hostname)


async def test_without_any_name_it_is_called_by_its_id(api: Api) -> None:
    given = await api.boot(None, instance_uuid="aaaaaaaa-1111-4111-8111-111111111111")
    assert given["name"] == "i-aaaaaaaa"


async def test_a_password_is_made_told_once_kept_sealed_and_forgotten(api: Api) -> None:
    api.world.agents.silent.add("StartGuest")
    given = await api.boot(user_data="#!/bin/sh\necho secret-in-user-data")
    await api.world.settle()
    password = given["admin_password"]
    assert len(password) == 20
    guest = api.world.agents.taken[-1].guest
    assert guest is not None
    assert await api.world.secrets.get(guest.password_ref) == password
    user_data = await api.world.secrets.get(guest.user_data_ref)
    assert user_data == "#!/bin/sh\necho secret-in-user-data"
    for topic in Topic:
        for record in api.world.log.all(topic):
            for secret in (password, "secret-in-user-data"):
                assert secret.encode() not in record.value
                assert all(secret.encode() not in value for _, value in record.headers)
    await api.world.answer_late()
    assert (await api.get(f"/instances/{given['id']}"))["status"] == "active"
    await _password_is_forgotten(api)


async def _password_is_forgotten(api: Api) -> None:
    """Soon after the boot's end."""
    async with asyncio.timeout(5):
        guest = api.world.agents.taken[-1].guest
        assert guest is not None
        while await api.world.secrets.get(guest.password_ref) is not None:  # noqa: ASYNC110  # nobody is told
            await asyncio.sleep(0.01)


async def test_a_password_that_was_given_is_not_repeated(api: Api) -> None:
    given = await api.boot(password="correct horse")
    assert "admin_password" not in given
    assert "correct horse" not in str(given)


async def test_secrets_are_forgotten_when_a_boot_fails(api: Api) -> None:
    api.world.agents.failures["CreateDisk"] = _failure()
    given = await api.boot()
    task = await api.ended(given["task_id"])
    assert task["status"] == "failed"
    assert task["fault"]["step"] == "CreateDisk"
    await _password_is_forgotten(api)


def _failure() -> Any:
    from domain.tasks.messages import JobError

    return JobError(code="disk-too-small", message="no room", ran=False)


async def test_count_boots_so_many_with_one_correlation(api: Api) -> None:
    given = await api.boot("web", count=3)
    assert [each["name"] for each in given["instances"]] == ["web-1", "web-2", "web-3"]
    assert "task_id" not in given
    assert len({each["task_id"] for each in given["instances"]}) == 3
    await api.world.settle()
    tasks = await api.get("/tasks", correlation=given["correlation_id"])
    assert {task["id"] for task in tasks["tasks"]} == {each["task_id"] for each in given["instances"]}
    hostnames = {instance["hostname"] for instance in (await api.get("/instances"))["instances"]}
    assert hostnames == {"web-1", "web-2", "web-3"}
    guests = [each.guest for each in api.world.agents.taken if each.guest]
    assert {guest.name: guest.launch_index for guest in guests} == {"web-1": 0, "web-2": 1, "web-3": 2}


async def test_a_single_instance_is_the_first_of_its_boot(api: Api) -> None:
    await api.boot("web")
    await api.world.settle()
    assert {each.guest.launch_index for each in api.world.agents.taken if each.guest} == {0}


async def test_the_same_key_is_the_same_boot(api: Api) -> None:
    api.world.agents.silent.add("StartGuest")
    first = await api.boot(headers={"Idempotency-Key": "k1"})
    await api.world.settle()
    again = await api.boot(headers={"Idempotency-Key": "k1"})
    assert again == first
    await api.world.answer_late()
    await _password_is_forgotten(api)
    assert await api.boot(headers={"Idempotency-Key": "k1"}) == first, "with the password, for a day"
    assert len((await api.get("/instances"))["instances"]) == 1


async def test_a_password_is_told_for_a_day_and_to_its_own_request_only(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(told_once, "KEPT_FOR", timedelta(0))
    first = await api.boot(headers={"Idempotency-Key": "k1"})
    await api.ended(first["task_id"])
    await _password_is_forgotten(api)
    later = await api.boot(headers={"Idempotency-Key": "k1"})
    assert "admin_password" in first
    assert later == {name: value for name, value in first.items() if name != "admin_password"}
    assert await sweep(api.services) == 0
    assert await api.world.secrets.expire() == 0, "a sweep has deleted what has expired"
    monkeypatch.undo()
    given = await api.boot("mine", password="my own", headers={"Idempotency-Key": "k2"})
    await api.ended(given["task_id"])
    assert "admin_password" not in await api.boot("mine", password="my own", headers={"Idempotency-Key": "k2"})
    assert "admin_password" in await api.boot("other", headers={"Idempotency-Key": "k1", "X-GoStack-Project": "shop"})


async def test_the_same_key_for_several_is_the_same_boot(api: Api) -> None:
    first = await api.boot(headers={"Idempotency-Key": "k1"}, count=3)
    await api.world.settle()
    again = await api.boot(headers={"Idempotency-Key": "k1"}, count=3)
    assert again == first
    assert len((await api.get("/instances"))["instances"]) == 3


@pytest.mark.parametrize("changed", [{"name": "other"}, {"password": "another"}, {"count": 2}, {"user_data": "x"}])
async def test_another_body_under_the_same_key_is_refused(api: Api, changed: dict[str, Any]) -> None:
    await api.boot(headers={"Idempotency-Key": "k1"}, password="one")
    await api.world.settle()
    body = {"name": "web", "password": "one"} | changed
    refused = await api.boot(status=422, headers={"Idempotency-Key": "k1"}, **body)
    assert refused["code"] == "idempotency-key-reused"
    assert len((await api.get("/instances"))["instances"]) == 1


async def test_a_repeated_boot_while_the_engine_is_away_makes_one_instance(api: Api) -> None:
    api.world.stopped.add("engine")
    first = await api.boot(headers={"Idempotency-Key": "k1"})
    second = await api.boot(headers={"Idempotency-Key": "k1"})
    assert first == second
    assert "task_id" not in first
    pending = await api.http.get(f"/v1/commands/{first['command_id']}")
    assert (pending.status_code, pending.json()["verdict"]) == (202, "pending")
    api.world.stopped.clear()
    await api.world.settle()
    assert (await api.get(f"/commands/{first['command_id']}"))["task_id"] == first["command_id"]
    assert [each["id"] for each in (await api.get("/instances"))["instances"]] == [first["id"]]


async def test_the_given_uuid_is_the_id_and_serves_once(api: Api) -> None:
    ident = str(uuid.uuid4())
    given = await api.boot(instance_uuid=ident.upper())
    assert given["id"] == ident
    await api.world.settle()
    refused = await api.boot(status=409, instance_uuid=ident)
    assert refused["code"] == "already-exists"


async def test_two_boots_with_one_uuid_that_overtake_the_projection(api: Api) -> None:
    ident = str(uuid.uuid4())
    api.world.stopped.add("projector")
    await api.boot(instance_uuid=ident)
    refused = await api.boot(status=409, instance_uuid=ident)
    assert (refused["code"], refused["instance"][:20]) == ("already-exists", "urn:gostack:command:")


@pytest.mark.parametrize("field", sorted(NOT_YET))
async def test_what_is_not_supported_yet_is_refused_by_name(api: Api, field: str) -> None:
    value: Any = [""] if field == "pci_types" else ["x"]
    if field.startswith("is_"):
        value = True
    elif field == "dedicated_to":
        value = "x"
    refused = await api.boot(status=422, **{field: value})
    assert refused["code"] == "not-supported-yet"
    assert refused["values"]["field"] == field
    assert api.world.log.all(Topic.JOBS) == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            {"pci_types": [""]},
            "pci_types is not supported yet: virtual functions (VF) are parts of network cards with SR",
        ),
        ({"pci_types": ["type-VF"]}, "and no host has such a card: each interface is a virtio one"),
        (
            {"pf_names": ["ens1f0"]},
            "pf_names is not supported yet: physical functions (PF) are whole network cards with",
        ),
        ({"pf_names": ["ens1f0"], "pci_types": ["type-VF"]}, "and no host has such a card"),
    ],
)
async def test_interfaces_of_network_cards_are_refused_and_it_is_said_what_is_missing(
    api: Api, body: dict[str, Any], said: str
) -> None:
    refused = await api.boot(status=422, **body)
    assert refused["code"] == "not-supported-yet"
    assert said in refused["detail"]
    assert api.world.log.all(Topic.JOBS) == []


@pytest.mark.parametrize(
    "body", [{"source_type": "local"}, {"dest_type": "local"}, {"source_type": "image", "dest_type": "local"}]
)
async def test_a_root_disk_is_local_unless_a_volume_is_asked_for(api: Api, body: dict[str, Any]) -> None:
    booted = await api.boot(**body)
    shown = await api.get(f"/instances/{booted['id']}")
    assert (shown["disk"] > 0, shown["root_volume_id"]) == (True, "")


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ({"source_type": "disk"}, "source_type", "image, volume, snapshot, blank, local are allowed"),
        ({"dest_type": "tape"}, "dest_type", "local, volume are allowed"),
        ({"source_type": "blank"}, "source_type", "nothing on an empty disk to boot from"),
        ({"source_type": "volume", "image": None}, "volume", "source volume needs one"),
        ({"image": None}, "image", "source image needs one"),
        ({"volume": "x"}, "image", "the root disk is of one thing, which is the volume"),
        ({"volume": "x", "source_type": "image"}, "volume", "the root disk is of one thing, which is the image"),
        ({"volume": "x", "image": None, "dest_type": "local"}, "dest_type", "is made of an image"),
        ({"volume": "x", "image": None, "volume_size": 1}, "volume_size", "the volume has its size"),
        ({"volume": "x", "image": None, "count": 2}, "count", "a volume is for one instance"),
        ({"volume": "x", "image": None, "pool": "p"}, "pool", "for a volume that is made"),
        ({"pool": "p"}, "pool", "for a volume that is made"),
        ({"delete_on_termination": True}, "delete_on_termination", "always goes with its instance"),
    ],
)
async def test_a_root_disk_that_makes_no_sense_is_refused_by_the_field(
    api: Api, body: dict[str, Any], field: str, said: str
) -> None:
    refused = await api.boot(status=422, **body)
    assert (refused["code"], refused["values"]["field"]) == ("invalid", field)
    assert said in refused["detail"]
    assert api.world.log.all(Topic.JOBS) == []


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ({"count": 0}, "count", "at least 1"),
        ({"count": 101}, "count", "at most 100"),
        ({"flavor": None}, "flavor", ""),
        ({"metadata": {"": "x"}}, "metadata", "1 to 255"),
        ({"metadata": {"k" * 256: "x"}}, "metadata", "1 to 255"),
        ({"metadata": {"k": "v" * 256}}, "metadata", "at most 255"),
        ({"metadata": {str(each): "" for each in range(129)}}, "metadata", "128"),
        ({"user_data": "x" * 65537}, "user_data", "65536"),
        ({"password": ""}, "password", "1 to 128"),
        ({"password": "a\nb"}, "password", "control"),
        ({"hostname": "no_underscore"}, "hostname", "RFC 1123"),
        ({"name": "a\nb"}, "name", ""),
        ({"volume_size": 0}, "volume_size", "at least 1"),
        ({"instance_uuid": "x"}, "instance_uuid", ""),
        ({"colour": "red"}, "colour", "no such field"),
        ({"count": 2, "instance_uuid": str(uuid.uuid4())}, "body", "count must be 1"),
        ({"count": 2, "port": "p"}, "body", "count must be 1"),
        ({"networks": ["lan"] * 17}, "networks", "at most 16"),
    ],
)
async def test_a_wrong_form_names_the_field(api: Api, body: dict[str, Any], field: str, said: str) -> None:
    refused = await api.boot(status=422, **body)
    assert refused["code"] == "invalid"
    wrong = refused["errors"][0]
    assert wrong["field"] == field
    assert said in wrong["message"] + wrong.get("allowed", "")


async def test_a_refused_form_never_repeats_a_secret(api: Api) -> None:
    wrong: list[dict[str, Any]] = [
        {"password": "tell\nme"},
        {"user_data": "sh" * 40000},
        {"passwort": "tellme"},
        {"count": 2, "port": "p"},
    ]
    for body in wrong:
        refused = await api.boot(status=422, **{"password": "hunter2", **body})
        assert not any(secret in str(refused) for secret in ("tell\\nme", "hunter2", "tellme", "shsh"))


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"flavor": "huge"}, "flavor"),
        ({"flavor": str(uuid.uuid4())}, "flavor"),
        ({"image": "none"}, "image"),
        ({"network": "wan"}, "network"),
        ({"port": "p"}, "port"),
        ({"host": "h9"}, "host"),
        ({"zone": "west"}, "zone"),
        ({"key_name": "laptop"}, "keypair"),
    ],
)
async def test_what_it_refers_to_must_exist(api: Api, body: dict[str, Any], kind: str) -> None:
    refused = await api.boot(status=404, **body)
    assert (refused["code"], refused["values"]["kind"]) == ("not-found", kind)


async def test_a_deleted_flavor_is_none(api: Api) -> None:
    flavor = await api.get("/flavors/small")
    await api.delete("/flavors/small")
    await api.boot(status=404)
    await api.boot(status=404, flavor=flavor["id"])


async def test_no_network_named_takes_the_only_one(api: Api) -> None:
    await api.delete("/networks/lan")
    bare = await api.booted("bare")
    assert bare["nics"] == []
    await api.post("/networks", {"name": "theirs", "cidr": "10.1.0.0/24"}, X_GoStack_Project="other")
    assert (await api.booted("one"))["nics"][0]["network_name"] == "theirs"
    await api.post("/networks", {"name": "ours", "cidr": "10.2.0.0/24"})
    assert (await api.booted("two"))["nics"][0]["network_name"] == "ours"
    await api.post("/networks", {"name": "more", "cidr": "10.3.0.0/24"})
    refused = await api.boot("three", status=409)
    assert refused["code"] == "network-needed"
    assert "more, ours" in refused["detail"]
    several = await api.booted("four", networks=["ours", "more"])
    assert [nic["network_name"] for nic in several["nics"]] == ["ours", "more"]


async def test_a_port_gives_its_address_and_outlives_the_instance(api: Api) -> None:
    port = await api.post("/ports", {"network": "lan", "name": "db", "ip": "10.0.0.77"})
    instance = await api.booted("db", port="db")
    assert instance["addresses"] == ["10.0.0.77"]
    refused = await api.boot("db2", status=409, ports=["db"])
    assert (refused["code"], refused["values"]["device"]) == ("port-busy", instance["id"])
    task = await api.delete(f"/instances/{instance['id']}?hard=true", 202)
    await api.ended(task["task_id"])
    assert (await api.get(f"/ports/{port['id']}"))["instance_id"] == ""
    twice = await api.boot("db3", status=422, ports=["db", port["id"]])
    assert twice["code"] == "invalid"


async def test_the_root_disk_is_as_large_as_asked_and_never_smaller_than_the_image(api: Api) -> None:
    await api.image("big", qcow2(3 * GIB))
    refused = await api.boot(status=422, image="big", volume_size=2)
    assert refused["values"]["field"] == "volume_size"
    assert "3 GiB" in refused["detail"]
    assert (await api.booted("a", image="big"))["disk"] == 3 * GIB
    assert (await api.booted("b", image="big", volume_size=5))["disk"] == 5 * GIB


async def test_the_root_disk_is_as_large_as_the_flavor_says_unless_the_boot_does(api: Api) -> None:
    await api.image("big", qcow2(3 * GIB))
    for name, disk in (("wide", 4 * GIB), ("narrow", 2 * GIB)):
        await api.post("/flavors", {"name": name, "core": 1, "memory": 64 * MIB, "disk": disk})
    assert (await api.booted("a", image="big", flavor="wide"))["disk"] == 4 * GIB
    assert (await api.booted("b", image="big", flavor="wide", volume_size=3))["disk"] == 3 * GIB
    refused = await api.boot(status=422, image="big", flavor="narrow")
    assert refused["values"]["field"] == "flavor"
    assert "needs a root disk of 3 GiB, and the flavor's has 2 GiB" in refused["detail"]
    assert (await api.booted("c", image="big", flavor="narrow", volume_size=3))["disk"] == 3 * GIB
    await api.patch("/flavors/narrow", {"disk": 0})
    assert (await api.booted("d", image="big", flavor="narrow"))["disk"] == 3 * GIB
    for wrong in (-1, 1000, 1 << 60):
        refused = await api.post("/flavors", {"name": "x", "core": 1, "memory": 64 * MIB, "disk": wrong}, 422)
        assert refused["code"] == "invalid"


async def test_an_instance_is_asked_for_in_the_cell_of_its_zone_or_host_or_in_all(api: Api) -> None:
    await api.world.host("h2", zone="east", cell="east")
    await api.services.admission.look()
    assert api.services.admission.cells == {"default": 1, "east": 1}
    wanted: dict[str, dict[str, Any]] = {"zone": {"zone": "east"}, "host": {"host": "h2"}}
    for name, place in wanted.items():
        booted = await api.booted(name, **place)
        assert booted["host"]["name"] == "h2"
        (created,) = [e for e in api.world.events(Key("instance", booted["id"])) if isinstance(e, InstanceCreated)]
        assert created.cells == ("east",)
    first = set()
    for number in range(12):
        booted = await api.booted(f"any-{number}", headers=keyed(number))
        (created,) = [e for e in api.world.events(Key("instance", booted["id"])) if isinstance(e, InstanceCreated)]
        assert set(created.cells) == {"default", "east"}
        assert booted["host"]["name"] == {"default": "h1", "east": "h2"}[created.cells[0]]
        first.add(created.cells[0])
    assert first == {"default", "east"}


def keyed(number: int) -> dict[str, str]:
    """The order of the cells is drawn from the command's id: by a key it is the same in every run."""
    return {"Idempotency-Key": f"boot-{number}"}


async def test_where_one_cell_is_full_the_other_has_room(api: Api) -> None:
    await api.world.host("h2", zone="east", cell="east", vcpus=1)
    api.services.admission.cells = {"default": 1, "east": 1}
    await api.post("/flavors", {"name": "wide", "core": 5, "memory": 64 * MIB})
    for number in range(8):
        booted = await api.booted(f"wide-{number}", flavor="wide", headers=keyed(number))
        assert booted["host"]["name"] == "h1"
    told = [
        [(each["cell"], each["host"] and each["host"]["name"]) for each in found["placements"]]
        for number in range(8)
        if len((found := await api.get(f"/instances/wide-{number}/placements"))["placements"]) == 2
    ]
    assert told, "none was asked for in the small cell first"
    assert all(each == [("east", None), ("default", "h1")] for each in told), told


async def test_keypair_zone_host_and_the_rest_reach_the_command(api: Api) -> None:
    await api.world.host("h2", zone="east")
    await api.post("/keypairs", {"name": "laptop"})
    instance = await api.booted(
        key_name="laptop",
        zone="east",
        host="h2",
        only_define=True,
        config_drive=False,
        description="d",
        metadata={"a": "b"},
    )
    assert instance["status"] == "stopped"
    assert (instance["zone"], instance["host"]["id"]) == ("east", named_id("host", "h2"))
    assert (instance["key_name"], instance["description"], instance["metadata"]) == ("laptop", "d", {"a": "b"})
    guest = api.world.agents.taken[-1].guest
    assert guest is not None
    assert guest.public_key.startswith("ssh-ed25519 ")
    assert guest.config_drive is False


async def test_a_boot_that_finds_no_host_fails_as_a_task_that_says_why(api: Api) -> None:
    await api.post("/flavors", {"name": "huge", "core": 256, "memory": 512 * MIB})
    given = await api.boot(flavor="huge")
    task = await api.ended(given["task_id"])
    assert task["status"] == "failed"
    assert task["fault"]["code"] == "no-valid-host"
    assert (await api.get(f"/instances/{given['id']}"))["status"] == "error"


async def test_an_empty_body_is_malformed(api: Api) -> None:
    answer = await api.http.post("/v1/instances", content=b"", headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"field": "body", "message": "is needed"}]


@pytest.mark.parametrize(
    "content", [b"#!/bin/sh\r\necho\r\n", gzip.compress(b"#!/bin/sh\n", mtime=0), "grüezi".encode(), b"x" * 65536]
)
async def test_user_data_is_given_byte_by_byte(api: Api, content: bytes) -> None:
    api.world.agents.silent.add("StartGuest")
    await api.boot(user_data=base64.encodebytes(content).decode(), user_data_encoding="base64")
    await api.world.settle()
    guest = api.world.agents.taken[-1].guest
    assert guest is not None
    assert await api.world.secrets.get_bytes(guest.user_data_ref) == content


@pytest.mark.parametrize(
    ("text", "said"),
    [("no base64!", "base64"), ("YQ", "base64"), ("ä", "base64"), (base64.b64encode(b"x" * 65537).decode(), "65536")],
)
async def test_user_data_that_is_no_base64_or_too_much(api: Api, text: str, said: str) -> None:
    refused = await api.boot(status=422, user_data=text, user_data_encoding="base64")
    (wrong,) = refused["errors"]
    assert wrong["field"] == "user_data"
    assert said in wrong["message"]
    assert text[:40] not in str(refused)
    assert (await api.boot(status=422, user_data="x", user_data_encoding="rot13"))["errors"][0]["field"] == (
        "user_data_encoding"
    )
