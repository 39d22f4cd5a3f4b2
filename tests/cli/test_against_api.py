"""Every command against the real service, over HTTP: once on the world in memory, once on real servers.

What a user types is typed here; nothing between the command line and the log is stood in for.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import yaml
from typer.testing import CliRunner, Result

from cli.gs.main import app
from domain.core.messages import Key
from tests.cli.services import Running, in_memory, on_servers
from tests.harness.incident import Incident
from tests.harness.receiver import is_signed

SHOWN = ("-o", "json")


class User:
    """Someone at the command line."""

    def __init__(self, service: Running) -> None:
        self._service = service
        self.url = service.url

    def run(self, *words: str) -> Result:
        return CliRunner(env={"GS_API": self.url, "GS_ACTOR": "ann"}).invoke(app, list(words))

    def __call__(self, *words: str) -> str:
        """It is expected to succeed."""
        done = self.run(*words)
        assert done.exit_code == 0, f"gs {' '.join(words)}: {done.exit_code}\n{done.output}"
        return done.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, *SHOWN))

    def fails(self, status: int, *words: str) -> str:
        """With this exit status; what it says then."""
        done = self.run(*words)
        assert done.exit_code == status, f"gs {' '.join(words)}: {done.exit_code}\n{done.output}"
        return done.stderr

    def busy(self, part: str) -> AbstractContextManager[None]:
        """While a part takes long, a task can be met while it runs."""
        return self._service.busy(part)

    @property
    def halts(self) -> bool:
        """Whether what is busy does nothing at all, or is only slow."""
        return self._service.halts


@pytest.fixture(scope="module", params=["memory", pytest.param("servers", marks=pytest.mark.real)])
def gs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    directory = tmp_path_factory.mktemp("service")
    with in_memory(directory) if request.param == "memory" else on_servers() as service:
        user = User(service)
        image = directory / "tiny.raw"
        image.write_bytes(bytes(1 << 20))
        user("image", "create", "--name", "tiny", "--file", str(image), "--description", "empty")
        user("flavor", "create", "--name", "small", "--core", "1", "--memory", "128M")
        user("network", "create", "--name", "lan", "--cidr", "10.20.0.0/24")
        yield user


BOOT = ("instance", "boot", "--flavor", "small", "--image", "tiny", "--network", "lan")


def test_versions_and_settings(gs: User) -> None:
    shown = gs.json("version")
    assert shown["client"] == shown["service"]
    settings = {each["name"]: each["value"] for each in gs.json("config", "show")}
    assert gs("config", "get", "api.max_body") == f"{settings['api.max_body']}\n"
    assert gs.json("config", "get", "api.max_body")["origin"] == "default"
    assert "no setting" in gs.fails(3, "config", "get", "nothing")


def test_the_life_of_an_instance(gs: User) -> None:
    booted = gs.json(*BOOT, "--name", "life", "--metadata", "a=1,b=2", "--user-data", "#!/bin/sh")
    assert (booted["status"], booted["power"], booted["user_id"]) == ("active", "running", "ann")
    assert booted["metadata"] == {"a": "1", "b": "2"}
    assert booted["admin_password"]
    for words, status in (
        ("stop", "stopped"),
        ("start", "active"),
        ("reboot", "active"),
        ("reboot --hard", "active"),
        ("reset", "active"),
        ("delete", "soft_deleted"),
        ("restore", "active"),
    ):
        assert gs("instance", *words.split(), "life", "-f", "status", "-o", "value") == f"{status}\n"
        (interface,) = gs.json("instance", "interface-list", "life")
        assert interface["ip"] == booted["addresses"][0], "also while it is soft-deleted"
    assert "There is no instance nobody" in gs.fails(3, "instance", "interface-list", "nobody")
    assert gs("instance", "log", "life").count("\n") > 1
    assert gs("instance", "log", "life", "--length", "1").count("\n") == 1
    assert gs.json("instance", "vnc", "life").keys() == {"host", "port", "password", "valid_seconds"}
    assert gs.json("instance", "interface-list", "life")[0]["ip"] == booted["addresses"][0]
    assert "SECURITY GROUPS" in gs("instance", "interface-list", "life", "--long")
    assert gs.json("instance", "update", "life", "--description", "new", "--metadata", "c=3")["metadata"] == {"c": "3"}
    types = [each["type"] for each in gs.json("instance", "history", "life", "-l", "1000")]
    assert types[0] == "gostack.instance.created.v6"
    assert "not deleted" in gs.fails(3, "instance", "show-deleted", booted["id"])
    assert gs("instance", "delete", "--hard", "life", "-f", "status", "-o", "value") == "deleted\n"
    assert gs.json("instance", "show-deleted", "life")["id"] == booted["id"]
    assert "There is no instance life" in gs.fails(3, "instance", "show", "life")


def test_an_instance_is_shelved_and_runs_again_and_is_cloned(gs: User) -> None:
    gs(*BOOT, "--name", "shelf")
    shelved = gs.json("instance", "shelve", "shelf", "--offload")
    assert shelved["status"] in ("shelved", "offloading", "shelved_offloaded")
    assert shelved["disk_image"]["virtual_size"] > 0
    # Where time passes by itself its host is being freed already, and this is refused.
    gs.run("instance", "offload", "shelf")
    for _ in range(100):
        if gs.json("instance", "show", "shelf")["status"] == "shelved_offloaded":
            break
        time.sleep(0.1)
    assert "no host" in gs.fails(1, "instance", "localdisk-show", "shelf")
    assert gs.json("instance", "unshelve", "shelf")["status"] == "active"
    clones = gs.json("instance", "clone", "shelf", "--name", "copy", "--count", "2", "--metadata", "a=b")
    assert [(each["name"], each["status"], each["metadata"]) for each in clones] == [
        ("copy-1", "active", {"a": "b"}),
        ("copy-2", "active", {"a": "b"}),
    ]
    assert "there are no snapshots" in gs.fails(1, "instance", "clone", "shelf", "--instance-snapshot-id", "s")
    gs("instance", "delete", "--hard", "shelf", "copy-1", "copy-2")


def test_an_incident_is_written_to_a_file(gs: User, tmp_path: Path) -> None:
    ident = gs.json(*BOOT, "--name", "noted", "--password", "only-the-guest-knows")["id"]
    task = gs.json("task", "list", "--instance", "noted")[0]["id"]
    file = tmp_path / "incident.json"
    assert f"are in {file}" in gs.run("event", "export", "--task", task, "--file", str(file)).stderr
    incident = Incident.of(file.read_bytes())
    state = incident.states()[Key("instance", ident)]
    assert (state.name, state.vm_state) == ("noted", "active")
    assert "only-the-guest-knows" not in file.read_text()
    assert "exists already" in gs.fails(2, "event", "export", "--task", task, "--file", str(file))
    assert Incident.of(gs("event", "export", "--instance", "noted")).subjects == [Key("instance", ident)]
    gs.fails(2, "event", "export")
    assert "gostack.instance.created.v6" in gs("event", "list", "--type", "instance.*", "--subject", ident)
    assert "instance.*" in gs.fails(1, "event", "list", "--type", "A")


def test_a_webhook_from_its_secret_to_its_end(gs: User) -> None:
    with endpoint() as (url, got):
        made = gs.run("webhook", "create", "hook", "--url", url, "--type", "task.*,host.*", "--actor", "ann", *SHOWN)
        assert made.exit_code == 0, made.output
        assert "shown only now" in made.stderr
        hook = json.loads(made.stdout)
        assert hook["secret"].startswith("whsec_")
        assert hook["wanted"]["types"] == ["gostack.task.*", "gostack.host.*"]
        assert "hook" in gs("webhook", "list", "--status", "enabled")
        assert "secret" not in gs.json("webhook", "show", "hook")
        assert gs.json("webhook", "test", "hook")["delivered"] is True
        headers, body = got.pop()
        assert is_signed(hook["secret"], headers, body)
        renewed = gs.json("webhook", "update", "hook", "--new-secret", "--type", "", "--description", "d")
        assert (renewed["wanted"]["types"], renewed["wanted"]["actor"], renewed["description"]) == ([], "ann", "d")
        gs("webhook", "test", "hook")
        headers, body = got.pop()
        assert is_signed(hook["secret"], headers, body)
        assert is_signed(renewed["secret"], headers, body)
        for place in ([], ["--from", "beginning"], ["--since", "2h"]):
            assert gs.json("webhook", "retry", "hook", *place)["status"] == "enabled"
        assert "without from" in gs.fails(1, "webhook", "retry", "hook", "--from", "now", "--since", "2h")
    assert gs.run("webhook", "test", "hook").exit_code == 1
    assert "exists already" in gs.fails(1, "webhook", "create", "hook", "--url", url)
    assert "http or https" in gs.fails(1, "webhook", "create", "other", "--url", "ftp://x")
    gs.fails(2, "webhook", "update", "hook")
    gs("webhook", "delete", "hook")
    assert "There is no webhook hook" in gs.fails(3, "webhook", "show", "hook")


@contextmanager
def endpoint() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """An endpoint that takes everything, and what it got: headers and body."""
    got: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/hook", got
        finally:
            server.shutdown()


def test_asking_for_what_is_so_already(gs: User) -> None:
    gs(*BOOT, "--name", "idle", "--only-define", "--config-drive=false")
    done = gs.run("instance", "stop", "idle", *SHOWN)
    assert "already" in done.stderr
    assert json.loads(done.stdout)["config_drive"] is False
    assert "wrong-status" in gs.fails(1, "instance", "reboot", "idle")


def test_several_are_booted_and_deleted_at_once(gs: User) -> None:
    booted = gs.json(*BOOT, "--name", "many", "--count", "3")
    assert [each["name"] for each in booted] == ["many-1", "many-2", "many-3"]
    ended = gs.json("instance", "delete", "--hard", "many-1", "many-2", "many-3")
    assert {each["status"] for each in ended} == {"deleted"}


def test_lists_are_narrowed_and_paged(gs: User) -> None:
    ident = gs.json(*BOOT, "--name", "listed", "--zone", "default")["id"]
    gs(*BOOT, "--name", "another")
    host = gs.json("instance", "show", "listed")["host"]
    for words in (
        ("--name", "listed"),
        ("--status", "active,error", "--name", "listed"),
        ("--host-name", host["name"], "--name", "listed"),
        ("--host-id", host["id"], "--name", "listed"),
        ("--flavor-ids", "small", "--image-id", "tiny", "--name", "listed"),
        (
            "--zone",
            "default",
            "--project-id",
            "admin",
            "--user-id",
            "ann",
            "--create-date",
            "1,",
            "--update-date",
            ",9999999999",
        ),
        ("--ip", gs.json("instance", "show", "listed")["addresses"][0]),
    ):
        assert ident in [each["id"] for each in gs.json("instance", "list", *words)], words
    assert "no keypair nothing" in gs.fails(3, "instance", "list", "--key-name", "nothing")
    first = json.loads(gs("instance", "list", "-l", "1", "--json"))
    assert first["next"] == first["instances"][0]["id"]
    assert first["instances"][0]["id"] not in gs("instance", "list", "--marker", first["next"])
    assert first["instances"][0]["id"] not in gs("instance", "list", "-s", "1")
    heading = gs("instance", "list", "--long", "--inner-status").splitlines()[0].split()
    assert {"ZONE", "USER", "VM_STATE", "POWER", "STEP"} <= set(heading)
    narrow = gs("instance", "list", "--name", "listed", "-f", "id,flavor.name", "-o", "value")
    assert narrow == f"{ident}\tsmall\n"
    assert yaml.safe_load(gs("instance", "list", "--name", "listed", "-o", "yaml"))[0]["id"] == ident
    assert gs("instance", "list", "--name", "listed", "-o", "csv").splitlines()[1].startswith(f"{ident},listed,active")


def test_what_is_not_supported_is_refused_by_name(gs: User) -> None:
    for words in (
        ("--group", "a,b"),
        ("--dedicated_to", "x"),
        ("--pci-types", ""),
        ("--pf-names", "a"),
        ("--is-pgpu-install",),
        ("--pgpu-driver-kits", "a"),
        ("--is-trusted",),
    ):
        assert "not-supported-yet" in gs.fails(1, *BOOT, *words), words
    for words in (("--volume", "a"), ("--sourceType", "volume"), ("--sourceType", "blank"), ("--pool", "a")):
        assert "(invalid)" in gs.fails(1, *BOOT, *words), words
    assert "root_device_id" in gs.fails(1, "instance", "reset", gs.json(*BOOT)["id"], "--root-device-id", "x")


def test_no_valid_host_tells_every_filter(gs: User) -> None:
    gs("flavor", "create", "huge", "--core", "1", "--memory", "1T")
    said = gs.fails(1, "instance", "boot", "--name", "huge", "--flavor", "huge", "--image", "tiny", "--network", "lan")
    assert "(no-valid-host)" in said
    assert "memory 0" in said
    hint = "Filter memory left no host: use a flavor with less memory, or delete instances. "
    hint += "Delete it and boot again: gs instance delete huge"
    assert said.endswith(f"Hint: {hint}\n")
    assert hint in " ".join(gs("instance", "show", "huge").split())
    for verb in ("start", "stop", "reset", "rescue"):
        assert "never ran" in gs.fails(1, "instance", verb, "huge")
    assert gs.json("instance", "show", "huge")["fault"]["hint"] == hint
    gs("instance", "delete", "huge")
    assert "deleted" in gs("instance", "show-deleted", "huge")
    gs("instance", "delete", "--hard", gs.json("instance", "show-deleted", "huge")["id"])
    assert (
        gs.json("task", "list", "--status", "failed", "--action", "boot", "-f", "fault")[0]["fault"]["step"] == "Place"
    )


def test_a_task_is_waited_for(gs: User) -> None:
    gs(*BOOT, "--name", "busy")
    with gs.busy("agents"):
        task = gs.json("instance", "reboot", "busy", "--hard", "--no-wait")["task_id"]
        assert "task-running" in gs.fails(1, "instance", "stop", "busy")
    assert gs("task", "wait", task, "-f", "status", "-o", "value") == "finished\n"
    assert gs.json("task", "show", task)["action"] == "hard-reboot"
    jobs = gs.json("job", "list", "--task", task)
    assert {each["name"] for each in jobs} >= {"UndefineGuest", "StartGuest"}
    assert gs.json("job", "show", jobs[0]["id"])["task_id"] == task
    assert gs.json("job", "list", "--instance", "busy", "--host", jobs[0]["host_id"], "--status", "finished")
    assert "no-such-task" in gs.fails(3, "task", "cancel", task)


def test_a_task_is_cancelled_unless_that_comes_too_late(gs: User) -> None:
    with gs.busy("scheduler"):
        booting = gs.json(*BOOT, "--name", "unwanted", "--no-wait")["task_id"]
        gs("task", "cancel", booting, "--no-wait")
    done = gs.run("task", "wait", booting, "-f", "status", "-o", "value")
    assert (done.exit_code, done.stdout) in {(1, "cancelled\n"), (0, "finished\n")}
    if gs.halts:
        assert "unwanted: boot was cancelled" in done.stderr


def test_the_timeout_leaves_the_task_running(gs: User) -> None:
    with gs.busy("agents"):
        said = gs.fails(124, *BOOT, "--name", "slow", "--timeout", "1.2")
    task = said.rpartition("gs task wait ")[2].strip()
    assert gs("task", "wait", task, "-f", "status", "-o", "value") == "finished\n"


def test_an_instance_boots_from_a_volume_and_from_a_snapshot_of_one(gs: User) -> None:
    gs("volume", "create", "root", "--image", "tiny", "--size", "1G")
    gs("volume-snapshot", "create", "before", "--volume", "root")
    boot = ("instance", "boot", "--flavor", "small", "--network", "lan")
    volume = gs.json("volume", "show", "root")
    first = gs.json(*boot, "--name", "first", "--volume", "root")
    assert (first["root_volume_id"], first["disk"], first["status"]) == (volume["id"], 0, "active")
    assert "in-use" in gs.fails(1, "instance", "detach-volume", "first", "--volume-id", "root")
    assert "root-is-volume" in gs.fails(1, "instance", "rebuild", "first")
    second = gs.json(*boot, "--name", "second", "--snapshot", "before", "--volume-size", "2", "--delete-on-termination")
    (listed,) = gs.json("volume", "list", "--instance-id", "second")
    assert (listed["id"], listed["size"]) == (second["root_volume_id"], 2 << 30)
    assert "in-use" in gs.fails(1, "volume-snapshot", "create", "late", "--volume", "root")


def test_flavors(gs: User) -> None:
    size = ("--core", "2", "--memory", "1.5G", "--multi_queue", "4")
    kind = ("--mode", "strict", "--policy", "Dedicated", "--spec", '"hw:support_live_resize"="true"')
    made = gs.json("flavor", "create", "live", *size, *kind)
    assert (made["core"], made["memory"], made["policy"]) == (2, 3 << 29, "Dedicated")
    assert [each["name"] for each in gs.json("flavor", "list", "--live_resize", "-f", "name")] == ["live"]
    assert gs.json("flavor", "update", "live", "--core", "3", "--name", "alive")["core"] == 3
    assert gs.json("flavor", "update", "alive", "--disk", "20G")["disk"] == 20 << 30
    assert gs.json("flavor", "add-extra", "alive", "a=1", "b=2")["extra"]["b"] == "2"
    assert gs.json("flavor", "delete-extra", "alive", "a", "b")["extra"] == {"hw:support_live_resize": "true"}
    assert "already-exists" in gs.fails(1, "flavor", "create", "alive", "--core", "1", "--memory", "128M")
    assert "memory" in gs.fails(1, "flavor", "create", "odd", "--core", "1", "--memory", "5")
    gs("flavor", "delete", "alive")
    gs.fails(3, "flavor", "show", "alive")


def test_keypairs(gs: User, tmp_path: Path) -> None:
    private = tmp_path / "key"
    gs("keypair", "create", "made", "--private-key", str(private))
    assert private.stat().st_mode & 0o777 == 0o600
    assert "exists already" in gs.fails(2, "keypair", "create", "again", "--private-key", str(private))
    alone = gs("keypair", "create", "--name", "alone")
    assert alone.startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    public = tmp_path / "key.pub"
    public.write_text(gs.json("keypair", "show", "made")["public_key"])
    brought = gs.json("keypair", "create", "brought", "--public-key", str(public))
    assert brought["fingerprint"] == gs.json("keypair", "show", "made")["fingerprint"]
    assert gs.json(*BOOT, "--name", "keyed", "--key-name", "brought")["key_name"] == "brought"
    gs("keypair", "delete", "made", "alone", "brought")
    assert gs.json("keypair", "list") == []
    again = tmp_path / "again"
    gs("keypair", "create", "made", "--private-key", str(again))
    assert gs.json("keypair", "show", "made")["deleted"] is None
    assert again.read_text() != private.read_text()
    assert gs("keypair", "create", "alone").startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    gs("keypair", "delete", "made", "alone")


def test_images(gs: User, tmp_path: Path) -> None:
    file = tmp_path / "other.raw"
    file.write_bytes(bytes(4096))
    made = gs.json("image", "create", "--name", "other", "--file", str(file), "--arch", "arm64", "--min-ram", "1G")
    assert (made["status"], made["format"], made["size"]) == ("active", "raw", 4096)
    assert (made["arch"], made["min_ram"], made["visibility"]) == ("aarch64", 1 << 30, "private")
    assert {each["name"] for each in gs.json("image", "list")} == {"tiny", "other"}
    changed = gs.json("image", "update", "other", "--name", "another", "--description", "x", "--arch", "x86_64")
    assert (changed["name"], changed["description"], changed["arch"]) == ("another", "x", "x86_64")
    gs.fails(2, "image", "update", "another")
    gs("image", "delete", "another")
    gs.fails(2, "image", "create", "--name", "none", "--file", "/nowhere")
    gs.fails(2, "image", "create", "--name", "none", "--file", str(file), "--url", "http://example.com/")


def test_a_file_is_uploaded_and_comes_back(gs: User, tmp_path: Path) -> None:
    file, back, page = tmp_path / "disk.raw", tmp_path / "back.raw", tmp_path / "page"
    file.write_bytes(bytes(5000))
    assert gs.json("image", "create", "later")["status"] == "queued"
    assert gs.json("image", "upload", "later", str(file))["status"] == "active"
    gs("image", "download", "later", str(back))
    assert back.read_bytes() == file.read_bytes()
    gs.fails(2, "image", "download", "later", str(back))
    # Of another file, which is longer and was fetched in part: thrown away, and fetched anew the next time.
    (tmp_path / "back.raw.part").write_bytes(b"x" * 100)
    gs.fails(1, "image", "download", "later", str(back), "--force")
    gs("image", "download", "later", str(back), "--force")
    assert back.read_bytes() == file.read_bytes()
    changed = gs.json("image", "update", "later", "--protected", "--property", "os_type=linux,hw_disk_bus=scsi")
    assert (changed["protected"], changed["properties"]) == (True, {"os_type": "linux", "hw_disk_bus": "scsi"})
    gs.fails(1, "image", "delete", "later")
    changed = gs.json("image", "update", "later", "--no-protected", "--remove-property", "hw_disk_bus")
    assert changed["properties"] == {"os_type": "linux"}
    page.write_text("<html>not found</html>" * 100)
    gs.fails(1, "image", "create", "page", "--file", str(page))
    assert gs.json("image", "list", "--status", "failed")[0]["name"] == "page"
    gs("image", "delete", "later", "page")


def test_networks_and_ports(gs: User) -> None:
    gs("network", "create", "backend", "--cidr", "10.30.0.0/24", "--description", "inner")
    port = gs.json("port", "create", "--network", "backend", "--name", "db", "--ip", "10.30.0.9")
    assert [each["id"] for each in gs.json("port", "list", "--network", "backend")] == [port["id"]]
    booted = gs.json("instance", "boot", "--name", "db", "--flavor", "small", "--image", "tiny", "--ports", "db")
    assert booted["addresses"] == ["10.30.0.9"]
    assert gs.json("port", "show", "db")["instance_id"] == booted["id"]
    assert "in-use" in gs.fails(1, "network", "delete", "backend")
    gs("instance", "delete", "--hard", "db")
    assert gs.json("port", "update", "db", "--name", "cache")["name"] == "cache"
    assert gs.json("network", "update", "backend", "--name", "inner", "--description", "")["name"] == "inner"
    assert "like an ID" in gs.fails(1, "network", "update", "inner", "--name", port["id"])
    gs("port", "delete", "cache")
    gs("network", "delete", "inner")
    assert "cidr" in gs.fails(1, "network", "create", "bad", "--cidr", "10.0.0.1/24")


def test_a_network_with_an_ipv6_range(gs: User) -> None:
    made = gs.json("network", "create", "six", "--cidr", "10.32.0.0/24", "--cidr6", "fd00:32::/64")
    assert (made["cidr6"], made["ipv6_mode"]) == ("fd00:32::/64", "slaac")
    port = gs.json("port", "create", "--network", "six", "--name", "p6", "--allowed-pairs", "fd00:32::9")
    assert port["allowed_pairs"] == [{"cidr": "fd00:32::9/128", "mac": ""}]
    assert port["ip6"] in gs("port", "list")
    assert "fd00:32::/64" in gs("network", "list")
    assert "in-use" in gs.fails(1, "network", "update", "six", "--cidr6", "")
    gs("port", "delete", "p6")
    changed = gs.json("network", "update", "six", "--cidr6", "fd00:33::/64", "--ipv6-mode", "dhcpv6")
    assert (changed["cidr6"], changed["ipv6_mode"]) == ("fd00:33::/64", "dhcpv6")
    gs("security-group", "rule-add", "default", "--protocol", "tcp", "--ports", "22", "--cidr", "::/0")


def test_what_rules_of_a_security_group_have_permitted(gs: User) -> None:
    group = gs.json("security-group", "create", "counted")
    (rule,) = group["rules"]
    assert [each["packets"] for each in gs.json("security-group", "counters", "counted")] == [0]
    assert gs("security-group", "counters", group["id"], "-f", "id,packets,bytes", "-o", "value") == f"{rule}\t0\t0\n"
    assert "There is no security-group nobody" in gs.fails(3, "security-group", "counters", "nobody")


def test_floating_addresses(gs: User) -> None:
    gs("network", "create", "dmz", "--cidr", "10.31.0.0/24")
    port = gs.json("port", "create", "--network", "dmz", "--name", "door")
    made = gs.json("floating-ip", "create", "192.0.2.9")
    assert "192.0.2.8/29" in gs.fails(1, "floating-ip", "create", "192.0.2.7")
    assert gs.json("floating-ip", "create")["name"] != made["name"]
    said = gs.fails(1, "floating-ip", "associate", "192.0.2.9", "--port", "door")
    assert "Network dmz has no way out" in said
    gs("network", "update", "dmz", "--external")
    assert "--port is needed" in gs.fails(2, "floating-ip", "associate", "192.0.2.9")
    assert gs.json("floating-ip", "associate", "192.0.2.9", "--port", "door")["port_id"] == port["id"]
    assert [each["id"] for each in gs.json("floating-ip", "list", "--network", "dmz")] == [made["id"]]
    assert "gs floating-ip disassociate 192.0.2.9" in gs.fails(1, "floating-ip", "delete", "192.0.2.9")
    assert gs.json("floating-ip", "disassociate", "192.0.2.9")["port_id"] == ""
    gs("instance", "boot", "--name", "led", "--flavor", "small", "--image", "tiny", "--ports", "door")
    assert gs.json("floating-ip", "associate", "192.0.2.9", "led")["port_id"] == port["id"]
    gs("instance", "delete", "--hard", "led")
    gs("port", "delete", "door")
    assert gs.json("floating-ip", "show", "192.0.2.9")["port_id"] == port["id"]
    gs("floating-ip", "disassociate", "192.0.2.9")
    gs("floating-ip", "delete", "192.0.2.9")
    assert gs.json("network", "update", "dmz", "--no-external")["external"] is False


def test_hosts_and_zones(gs: User) -> None:
    name = gs.json("host", "list", "--status", "enabled")[0]["name"]
    disabled = gs.json("host", "disable", name, "--reason", "its fan is loud")
    assert (disabled["status"], disabled["why_disabled"]) == ("disabled", "its fan is loud")
    assert gs.json("host", "enable", name)["status"] == "enabled"
    gs("zone", "create", "east", "--description", "the east wing")
    assert gs.json("zone", "add-host", "east", name)["zone"] == "east"
    assert [each["name"] for each in gs.json("host", "list", "--zone", "east", "--health", "up")] == [name]
    assert gs.json(*BOOT, "--name", "eastern", "--zone", "east", "--host", name)["host"]["name"] == name
    assert "in-use" in gs.fails(1, "zone", "delete", "east")
    assert gs.json("zone", "remove-host", "east", name)["zone"] == "default"
    assert gs.json("zone", "update", "east", "--description", "the west wing")["description"] == "the west wing"
    gs("zone", "delete", "east")
    assert [each["name"] for each in gs.json("zone", "list")] == ["default"]


def test_events_are_listed_shown_and_followed(gs: User) -> None:
    wanted = ("--type", "gostack.zone.created.v2")
    listed = gs.json("event", "list", *wanted)
    assert gs.json("event", "show", listed[0]["id"])["data"]["name"] == "default"
    # Time enough for what is there to come.
    following = ("event", "follow", *wanted, "--timeout", "0.8" if gs.halts else "1.5")
    done = gs.run(*following, "--from", "beginning", *SHOWN)
    assert done.exit_code == 124
    assert {json.loads(line)["id"] for line in done.stdout.splitlines()} >= {each["id"] for each in listed}
    place = done.stderr.partition("--from ")[2].split()[0]
    gs("zone", "create", "later")
    later = gs.run(*following, "--from", place, *SHOWN).stdout.splitlines()
    assert [json.loads(line)["data"]["name"] for line in later] == ["later"]
    assert gs.run(*following).stdout == ""
    for way in ("list", "follow"):
        assert "no task mistyped" in gs.fails(3, "event", way, "--task", "mistyped")


def test_any_moment_again(gs: User) -> None:
    gs(*BOOT, "--name", "past")
    events = gs.json("instance", "history", "past", "-l", "1000")
    first, last = ("/".join(str(part) for part in each["place"].values()) for each in (events[0], events[-1]))
    assert gs.json("instance", "show", "past", "--at", first)["status"] == "building"
    assert gs.json("instance", "show", "past", "--at", last) == gs.json("instance", "show", "past")
    assert "how long ago" in gs.fails(2, "instance", "show", "past", "--at", "yesterday")
    assert "not-there-then" in gs.fails(3, "instance", "show", "past", "--at", "9000d")
    lines = gs("instance", "diff", "past", "--from", first).splitlines()
    assert lines[0].split() == ["FIELD", "OLD", "NEW"]
    assert ["status", "building", "active"] in [line.split() for line in lines]
    there = gs.json("instance", "list", "--at", events[0]["time"], "-l", "1")
    assert [(each["name"], each["status"]) for each in there] == [("past", "building")]
    gs(*BOOT, "--name", "later")
    with patch("api.reads.time_travel.MOST_LOOKED_AT", 1):
        there = gs.json("instance", "list", "--at", "2999-01-01", "--name", "past")
    assert [each["name"] for each in there] == ["past"]
    task = gs.json("task", "list", "--instance", "past")[0]["id"]
    assert gs.json("task", "show", task, "--at", last)["status"] == "finished"
    for kind, which in (("task", task), ("network", "lan"), ("host", gs.json("host", "list")[0]["name"])):
        assert gs.json(kind, "history", which, "-l", "1")[0]["id"]
    changes = gs.json("network", "diff", "lan", "--from", gs.json("network", "show", "lan")["created"])["changes"]
    assert "ports" in [each["field"] for each in changes]
    lines = gs("task", "diff", task, "--from", "/".join(str(part) for part in events[1]["place"].values())).splitlines()
    assert ["status", "running", "finished"] in [line.split() for line in lines]


def test_why_it_is_as_it_is(gs: User) -> None:
    gs(*BOOT, "--name", "because")
    said = gs("instance", "why", "because")
    assert "ann asked for instance because" in said
    assert said.splitlines()[-1].endswith("boot is finished: the instance is active.")
    whole = gs.json("instance", "why", "because")
    assert {each["subject"].partition("/")[0] for each in whole["steps"]} == {"instance", "host", "network"}
    for form, arrow in (("dot", "->"), ("mermaid", "-->")):
        assert gs("instance", "why", "because", "--graph", form).count(arrow) == len(whole["edges"]) > 0
    task = gs.json("task", "list", "--instance", "because")[0]["id"]
    assert gs("task", "why", task) == said
    assert "-->" in gs("task", "why", task, "--graph", "mermaid")
    assert "asked for network lan" in gs("network", "why", "lan")
    name = gs.json("host", "list")[0]["name"]
    gs("host", "disable", name, "--reason", "its fan")
    assert "disabled it (its fan)" in gs("host", "why", name)
    assert gs("host", "why", name, "--graph", "dot").count("label") == len(gs.json("host", "why", name)["steps"]) > 1
    gs("host", "enable", name)


def test_the_scheduler_explains_itself(gs: User) -> None:
    assert "short of vCPUs" in gs("scheduler", "filters")
    assert gs("scheduler", "weights").splitlines()[0].split() == ["NAME", "WEIGHT"]
    gs(*BOOT, "--name", "put")
    (placement,) = gs.json("scheduler", "explain", "put")["placements"]
    assert placement["host"]["name"] == gs.json("instance", "show", "put")["host"]["name"]
    done = gs.run("scheduler", "explain", "put")
    assert "vcpu" in done.stdout
    assert f"{placement['host']['name']}, of {placement['hosts']} hosts" in done.stderr


def test_the_program_itself(gs: User) -> None:
    """As a process, as a user has it."""
    command = [sys.executable, "-m", "cli.gs.main", "flavor", "show", "small", "-f", "core", "-o", "value", "--debug"]
    done = subprocess.run(command, capture_output=True, text=True, env={"GS_API": gs.url}, check=True)
    assert done.stdout == "1\n"
    assert "> GET" in done.stderr


def test_what_is_deleted_is_said_in_a_few_lines(gs: User) -> None:
    for name, words, status in (("brief", (), "soft_deleted"), ("gone", ("--hard", "--yes"), "deleted")):
        gs(*BOOT, "--name", name)
        shown = gs("instance", "delete", name, *words)
        rows = dict(line.split(maxsplit=1) for line in shown.splitlines())
        assert (rows["name"], rows["status"], len(rows) <= 6) == (name, status, True)


def test_every_edge_of_a_graph_leads_between_nodes_that_are_there(gs: User) -> None:
    gs(*BOOT, "--name", "graph")
    gs("instance", "stop", "graph")
    tasks = [each["id"] for each in gs.json("task", "list", "--instance", "graph")]
    for words in (("instance", "why", "graph"), *(("task", "why", each) for each in tasks)):
        for form, arrow in (("dot", " -> "), ("mermaid", " --> ")):
            lines = [line.strip(" ;") for line in gs(*words, "--graph", form).splitlines()]
            edges = [line.split(arrow) for line in lines if arrow in line]
            nodes = {line.split("[")[0].strip() for line in lines if "[" in line and arrow not in line} - {"node"}
            assert {end for edge in edges for end in edge} == nodes
            assert len(nodes - {end for _, end in edges}) == 1


def test_user_data_goes_as_it_is(gs: User, tmp_path: Path) -> None:
    file = tmp_path / "user-data.gz"
    file.write_bytes(b"\x1f\x8b\x08\0\xff" * 100)
    assert gs.json(*BOOT, "--name", "zipped", "--user-data", str(file))["status"] == "active"
    assert "There is no file" in gs.fails(2, *BOOT, "--name", "typo", "--user-data", "/nonexistent")
    gs.fails(3, "instance", "show", "typo")
    file.write_bytes(bytes(1 + (64 << 10)))
    assert "65536" in gs.fails(1, *BOOT, "--name", "large", "--user-data", f"@{file}")
