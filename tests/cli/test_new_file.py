"""What is told once is not lost: files are opened first, and a secret that cannot be written is printed."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.gs.new_file import NewFile
from cli.gs.problems import Refused, Usage
from cli.terminal import OutputLost
from tests.cli.conftest import Gs, Service, problem
from tests.cli.test_waiting import BOOT, TASK, booting, task

__all__ = ["booting"]

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----\n"
MADE = {"id": "k", "name": "a", "fingerprint": "SHA256:x", "private_key": KEY, "version": 1}


@pytest.fixture
def pair(service: Service) -> Service:
    service.on("POST /v1/keypairs", MADE, status=201)
    return service


def writes(service: Service) -> int:
    return sum(each.method == "POST" for each in service.asked)


def test_a_key_is_in_a_file_of_its_owner(gs: Gs, pair: Service, tmp_path: Path) -> None:
    path = tmp_path / "key"
    shown = gs("keypair", "create", "a", "--private-key", str(path))
    assert shown.exit_code == 0, shown.output
    assert path.read_text() == KEY
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "BEGIN" not in shown.output
    assert f"The private key is in {path}." in shown.stderr


@pytest.mark.parametrize("name", ["no/dir/k", "there", "."])
def test_no_pair_is_made_for_a_file_that_cannot_be(gs: Gs, pair: Service, tmp_path: Path, name: str) -> None:
    (tmp_path / "there").write_text("the only copy of a key")
    shown = gs("keypair", "create", "a", "--private-key", str(tmp_path / name))
    assert shown.exit_code == 2
    assert shown.stderr.startswith("Error: ")
    assert writes(pair) == 0
    assert (tmp_path / "there").read_text() == "the only copy of a key"


def test_a_file_that_is_there_is_overwritten_if_that_is_wanted(gs: Gs, pair: Service, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("old")
    path.chmod(0o644)
    assert gs("keypair", "create", "a", "--private-key", str(path), "--force").exit_code == 0
    assert path.read_text() == KEY
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["key"]


@pytest.mark.parametrize("force", [False, True])
def test_nothing_stays_of_a_file_for_a_pair_that_was_refused(
    gs: Gs, service: Service, tmp_path: Path, force: bool
) -> None:
    service.on("POST /v1/keypairs", problem("already-exists", 409, "The keypair a exists already."))
    path = tmp_path / "key"
    if force:
        path.write_text("old")
    shown = gs("keypair", "create", "a", "--private-key", str(path), *(("--force",) if force else ()))
    assert shown.exit_code == 1
    assert [each.name for each in tmp_path.iterdir()] == (["key"] if force else [])
    assert not force or path.read_text() == "old"


def test_a_key_that_cannot_be_written_is_printed(
    gs: Gs, pair: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key"
    written = os.write

    def full(descriptor: int, content: Any) -> int:
        if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
            raise OSError(28, "No space left on device")
        return written(descriptor, content)

    monkeypatch.setattr(os, "write", full)
    shown = gs("keypair", "create", "a", "--private-key", str(path))
    assert shown.exit_code == 1
    assert f"{path} could not be written: No space left on device." in shown.stderr
    assert KEY in shown.stderr
    assert not path.exists()


@pytest.mark.parametrize("words", [("-f", "id"), ("-f", "id", "-o", "json"), ("-f", "name", "-o", "csv")])
def test_a_key_that_was_not_asked_for_is_not_lost(gs: Gs, pair: Service, words: tuple[str, ...]) -> None:
    shown = gs("keypair", "create", "a", *words)
    assert shown.exit_code == 0
    assert KEY in shown.stderr


@pytest.mark.parametrize("words", [(), ("-o", "json"), ("-o", "yaml"), ("--json",), ("-f", "private_key")])
def test_a_key_is_printed_once(gs: Gs, pair: Service, words: tuple[str, ...]) -> None:
    shown = gs("keypair", "create", "a", *words)
    assert shown.exit_code == 0
    assert "BEGIN OPENSSH" in shown.stdout
    assert "BEGIN OPENSSH" not in shown.stderr


def test_a_key_of_which_nothing_can_be_read_yet(gs: Gs, service: Service) -> None:
    asked = {"id": "k", "command_id": TASK, "private_key": KEY}
    service.on("POST /v1/keypairs", asked, status=202)
    service.on(f"GET /v1/commands/{TASK}", httpx.ConnectError("gone"))
    shown = gs("keypair", "create", "a", "-o", "json")
    assert shown.exit_code == 5
    assert KEY in shown.stderr


def test_a_key_whose_output_is_lost(gs: Gs, pair: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(text: str) -> None:
        raise OutputLost("No space left on device")

    monkeypatch.setattr("cli.gs.keypair.write", lost)
    shown = gs("keypair", "create", "a")
    assert shown.exit_code == 1
    assert KEY in shown.stderr
    assert "Error: The answer cannot be printed: No space left on device." in shown.stderr


def test_the_password_of_a_boot_that_is_not_waited_for_to_the_end(gs: Gs, booting: Service) -> None:
    booting.on(f"GET /v1/tasks/{TASK}", task("running", 1, "BindPort"))
    shown = gs(*BOOT, "--timeout", "0.3")
    assert shown.exit_code == 124
    assert "The admin password is shown only now:\nonce\n" in shown.stderr


def test_the_password_of_a_boot_is_printed_once(gs: Gs, booting: Service) -> None:
    booting.on(f"GET /v1/tasks/{TASK}", task("finished", 3))
    assert "once" not in gs(*BOOT).stderr
    assert "once" not in gs(*BOOT, "--no-wait").stderr
    assert json.loads(gs(*BOOT, "-o", "json").stdout)["admin_password"] == "once"
    assert "once" in gs(*BOOT, "-f", "id").stderr


def test_the_secret_of_a_webhook_that_was_not_asked_for(gs: Gs, service: Service) -> None:
    service.on("POST /v1/webhooks", {"id": "w", "name": "hook", "secret": "whsec_x", "version": 1}, status=201)
    assert "whsec_x" in gs("webhook", "create", "hook", "--url", "http://a/", "-f", "id").stderr
    shown = gs("webhook", "create", "hook", "--url", "http://a/", "-o", "json")
    assert json.loads(shown.stdout)["secret"] == "whsec_x"
    assert "whsec_x" not in shown.stderr


def test_an_export_is_opened_first(gs: Gs, service: Service, tmp_path: Path) -> None:
    service.on("GET /v1/events/export", {"events": [{"subject": "instance/a"}]})
    path = tmp_path / "incident.json"
    assert gs("event", "export", "--task", TASK, "--file", str(tmp_path / "no" / "dir")).exit_code == 2
    assert service.asked == []
    assert gs("event", "export", "--task", TASK, "--file", str(path)).exit_code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert gs("event", "export", "--task", TASK, "--file", str(path)).exit_code == 2
    assert gs("event", "export", "--task", TASK, "--file", str(path), "--force").exit_code == 0
    assert json.loads(path.read_text())["events"]


def test_a_link_that_leads_nowhere_is_not_followed_by_accident(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Usage):
        NewFile(str(tmp_path / "link"), force=False)
    assert not (tmp_path / "elsewhere").exists()


def test_a_device_is_written_as_it_is() -> None:
    with NewFile("/dev/null", force=False) as file:
        file.write(b"x")
    with pytest.raises(Refused), NewFile("/dev/full", force=False) as file:
        file.write(b"x")
    assert Path("/dev/full").is_char_device()
