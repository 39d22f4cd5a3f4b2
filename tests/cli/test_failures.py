"""However a command ends, the user reads a line, and a script reads the exit status."""

import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli import failures
from tests.cli.conftest import Gs, Service

CODE = "import sys; sys.argv[0] = 'gs'; from cli.gs.main import main; main()"
IDENT = "aaaaaaaa-0000-0000-0000-000000000000"
PATIENCE = 30.0


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "gostack"


def run(*words: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    """`gs` as a process."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **options.pop("env", {})}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.run([sys.executable, "-c", CODE, *words], env=environment, timeout=PATIENCE, **streams)


def test_an_error_that_nobody_foresaw(gs: Gs, service: Service, state: Path) -> None:
    service.on("GET /v1/flavors", {"flavors": [1]})
    shown = gs("flavor", "list", "-o", "csv", "-f", "name")
    service.on("GET /v1/flavors", RuntimeError("boom\x1b"))
    shown = gs("flavor", "list")
    assert shown.exit_code == failures.STATUS == 70
    assert shown.stdout == ""
    (line,) = shown.stderr.splitlines()
    said = re.fullmatch(r"Error: gs itself failed \(RuntimeError: boom\\x1b\); the traceback is in (\S+)\.", line)
    assert said, line
    path = Path(said[1])
    assert path.parent == state
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert "Traceback (most recent call last)" in path.read_text()


def test_its_traceback_is_shown_to_who_asks(gs: Gs, service: Service) -> None:
    service.on("GET /v1/flavors", RuntimeError("boom"))
    shown = gs("flavor", "list", "--debug")
    assert shown.exit_code == 70
    assert "Traceback (most recent call last):" in shown.stderr.splitlines()


def test_few_tracebacks_are_kept(state: Path) -> None:
    for number in range(failures.KEPT + 5):
        (state).mkdir(parents=True, exist_ok=True)
        (state / f"gs-2026010{number % 10}T00000{number}-1.txt").write_text("old")
    assert failures.kept("gs", "new")
    there = sorted(state.glob("gs-*.txt"))
    assert len(there) == failures.KEPT
    assert any(path.read_text() == "new" for path in there)


def test_where_nothing_can_be_kept(gs: Gs, service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    service.on("GET /v1/flavors", RuntimeError("boom"))
    shown = gs("flavor", "list")
    assert shown.exit_code == 70
    assert shown.stderr == "Error: gs itself failed (RuntimeError: boom); --debug shows the traceback.\n"


@pytest.mark.parametrize(
    ("environment", "status", "said"),
    [
        ({"GS_API": "http://nobody.invalid:1"}, 5, "could not be reached"),
        ({"GS_API": "nonsense"}, 2, "is no address of a service"),
        ({"GS_API": "http://["}, 2, "is no address of a service"),
        ({"GS_API": "https://127.0.0.1:1", "SSL_CERT_FILE": "/nowhere/at/all"}, 2, "can be set up"),
        ({"GS_API": "http://nobody.invalid:1", "HTTP_PROXY": "nonsense://x"}, 2, "can be set up"),
    ],
)
def test_a_service_that_cannot_be_reached(
    environment: dict[str, str], status: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from cli.gs.main import app

    monkeypatch.setattr("cli.gs.client.FIRST_PAUSE", 0.001)
    for proxy in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(proxy, raising=False)
    shown = CliRunner(env=environment).invoke(app, ["flavor", "list"])
    assert shown.exit_code == status, shown.output
    assert said in shown.stderr
    assert len(shown.stderr.splitlines()) == 2


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>", headers={"content-type": "text/html"}),
        httpx.Response(200, content=b"{", headers={"content-type": "application/json"}),
        httpx.Response(302, headers={"location": "http://login.example/"}),
        httpx.DecodingError("Error -3 while decompressing data"),
    ],
)
def test_something_else_that_answers(gs: Gs, service: Service, answer: Any) -> None:
    service.on("GET /v1/flavors", answer)
    shown = gs("flavor", "list")
    assert (shown.exit_code, shown.stdout) == (5, "")
    assert shown.stderr.startswith(("Error: What answers at", "Error: The service at"))


def test_a_certificate_that_nobody_signed(tmp_path: Path) -> None:
    with tls_server(tmp_path) as url:
        done = run("flavor", "list", env={"GS_API": url})
    assert (done.returncode, done.stdout) == (5, "")
    assert "certificate" in done.stderr.lower()
    assert "Traceback" not in done.stderr


@contextmanager
def tls_server(directory: Path) -> Iterator[str]:
    """A server with a certificate of its own."""
    import socket
    import ssl
    import threading
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    pem = directory / "server.pem"
    private = serialization.PrivateFormat.PKCS8
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption())
        + made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                    with context.wrap_socket(connection, server_side=True):
                        pass
                except ssl.SSLError:
                    continue
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        yield f"https://localhost:{server.getsockname()[1]}"


def test_a_reader_that_goes_away() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = run("--help", stdout=writing)
        assert (done.returncode, done.stderr) == (141, "")
    finally:
        os.close(writing)


def test_a_disk_that_is_full() -> None:
    with open("/dev/full", "w") as full:
        done = run("version", stdout=full, env={"GS_API": "http://127.0.0.1:1"})
    assert done.returncode == 1
    assert done.stderr == "Error: The answer cannot be printed: No space left on device.\n"


def test_standard_streams_that_are_closed() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "GS_API": "http://127.0.0.1:1"}
    command = [sys.executable, "-c", CODE, "version"]
    done = subprocess.run(["sh", "-c", '"$@" >&- 2>&- <&-', "sh", *command], env=environment, timeout=PATIENCE)
    assert done.returncode == 1


def test_an_interrupt() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "GS_API": "http://10.255.255.1:9"}
    with subprocess.Popen(
        [sys.executable, "-c", CODE, "flavor", "list", "--debug"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as gs:
        assert gs.stderr
        first = gs.stderr.readline()
        gs.send_signal(signal.SIGINT)
        rest = gs.stderr.read()
        # A shell calls both 130: an interrupt in a moment that is nobody's ends the process by itself.
        assert gs.wait(PATIENCE) in (130, -signal.SIGINT)
    assert first.startswith("> GET")
    assert "Traceback" not in rest


def test_words_that_are_no_text() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, "flavor", "show", b"\xff"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 2
    assert "is not UTF-8" in done.stderr


def test_json_and_another_format_contradict_one_another(gs: Gs, service: Service) -> None:
    service.on("GET /v1/jobs", {"jobs": []})
    for form in ("yaml", "table", "csv", "value"):
        shown = gs("job", "list", "--json", "-o", form)
        assert shown.exit_code == 2
        assert "contradict" in shown.stderr
    assert gs("job", "list", "--json", "-o", "json").exit_code == 0
    assert gs("job", "list", "--json").exit_code == 0
