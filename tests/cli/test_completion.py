"""What stands under the TAB key: names, IDs, statuses and fields, as a shell asks for them."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.core import TyperArgument, TyperOption
from typer.testing import CliRunner

from cli.gs import completion
from cli.gs.main import app
from tests.cli.conftest import Service
from tests.cli.services import in_memory
from tests.cli.test_commands import EVERY, leaf

NOBODY = "http://127.0.0.1:1"
QUIET = 0.3  # seconds that a user waits at most, where the machine has nothing else to do


def asking(line: str, url: str, shell: str = "bash") -> dict[str, str]:
    """What a shell sets when TAB is pressed at the end of this line."""
    place = str(line.count(" "))
    asked = {"_GS_COMPLETE": f"complete_{shell}", "COMP_WORDS": line, "COMP_CWORD": place, "_TYPER_COMPLETE_ARGS": line}
    return {"GS_API": url, "GS_ACTOR": "ann", "_TYPER_COMPLETE_FISH_ACTION": "get-args", **asked}


def completed(line: str, url: str = NOBODY, shell: str = "bash", obj: Any = None) -> list[str]:
    done = CliRunner(env=asking(line, url, shell)).invoke(app, [], prog_name="gs", obj=obj)
    assert (done.exit_code, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program was started long ago, and the machine may have much to do."""
    monkeypatch.setattr(completion, "LEAST", 5 * QUIET)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("service")
    image = directory / "tiny.raw"
    image.write_bytes(bytes(1 << 20))
    with in_memory(directory) as service:
        for words in (
            f"image create tiny --file {image}",
            "flavor create small --core 1 --memory 128M",
            "flavor create snail --core 1 --memory 128M",
            "network create lan --cidr 10.20.0.0/24",
            "keypair create ann-key -o json",
            "port create --network lan --name door",
            "security-group create shop",
            "webhook create hook --url http://127.0.0.1:9/x",
            "instance boot --flavor small --image tiny --network lan --name web",
            "instance boot --flavor small --image tiny --network lan --name gone",
            "instance delete gone",
            "floating-ip create 192.0.2.9",
        ):
            done = CliRunner(env={"GS_API": service.url, "GS_ACTOR": "ann"}).invoke(app, words.split())
            assert done.exit_code == 0, done.output
        yield service.url


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("gs instance show we", ["web"]),
        ("gs instance show ", ["web"]),
        ("gs instance show x", []),
        ("gs instance show-deleted ", ["gone"]),
        ("gs instance stop ", ["web"]),
        ("gs instance attach-interface web --port do", ["door"]),
        ("gs instance attach-interface web --security-group-ids shop,d,s", []),
        ("gs instance attach-interface web --security-group-ids d,s", ["d,shop"]),
        ("gs instance restore ", ["gone"]),
        ("gs vm rm w", ["web"]),
        ("gs server create --flavor s", ["small", "snail"]),
        ("gs instance boot --flavor=s", ["small", "snail"]),
        ("gs instance boot --image ", ["tiny"]),
        ("gs instance boot --network l", ["lan"]),
        ("gs instance boot --key-name ", ["ann-key"]),
        ("gs instance boot --zone d", ["default"]),
        ("gs instance boot --host ", ["h1", "h2"]),
        ("gs instance boot --ports do", ["door"]),
        ("gs instance list --flavor-ids small,s", ["small,snail"]),
        ("gs instance list --host-name h", ["h1", "h2"]),
        ("gs instance list --project-id ", ["admin"]),
        ("gs instance list --name w", ["web"]),
        ("gs event follow --task nothing", []),
        ("gs webhook show ", ["hook"]),
        ("gs floating-ip show 192", ["192.0.2.9"]),
        ("gs floating-ip associate ", ["192.0.2.9"]),
        ("gs floating-ip associate 192.0.2.9 we", ["web"]),
        ("gs floating-ip associate 192.0.2.9 --port do", ["door"]),
        ("gs floating-ip disassociate 1", ["192.0.2.9"]),
        ("gs zone add-host default h", ["h1", "h2"]),
        ("gs zone create east --cell ", ["default"]),
        ("gs project usage a", ["admin"]),
        ("gs config get api.max_b", ["api.max_body"]),
        ("gs event dead show ", []),
    ],
)
def test_names_are_those_of_the_service(line: str, words: list[str], url: str) -> None:
    assert sorted(completed(line, url)) == words


@pytest.mark.usefixtures("patient")
def test_ids_are_completed_where_there_is_no_name_or_one_was_begun(url: str) -> None:
    tasks = completed("gs task show ", url)
    assert len(tasks) == 3
    assert completed(f"gs job list --task {tasks[0][:-3]}", url) == [tasks[0]]
    shown = (
        CliRunner(env={"GS_API": url})
        .invoke(app, ["instance", "show", "web", "-f", "id", "-o", "value"])
        .stdout.strip()
    )
    assert completed(f"gs instance show {shown[:30]}", url) == [shown]
    assert completed(f"gs instance boot --key-name {shown[:30]}", url) == []


@pytest.mark.usefixtures("patient")
def test_fields_are_those_that_the_service_and_the_tables_have(url: str) -> None:
    assert {"id", "flavor.name", "metadata", "user_id"} <= set(completed("gs instance show web -f ", url))
    assert completed("gs vm ls --fields id,na", url) == ["id,name"]
    assert "place" in completed("gs instance history web -f ", url)
    assert completed("gs instance interface-list web -f ma") == ["mac"]
    assert completed("gs version -f ") == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("gs instance list --status act", ["active"]),
        ("gs instance list --status active,err", ["active,error"]),
        ("gs task list --status f", ["finished", "failed"]),
        ("gs task list --action rebo", ["reboot"]),
        ("gs job list --status s", ["started", "skipped"]),
        ("gs host list --status d", ["disabled"]),
        ("gs host list --health s", ["suspect"]),
        ("gs webhook list --status e", ["enabled"]),
        ("gs event dead list --status dr", ["dropped"]),
        ("gs instance sh", ["show", "show-deleted", "shelve"]),
        ("gs vm l", ["list", "log", "localdisk-show"]),
        ("gs ve", ["version"]),
        ("gs flavor create x --policy ", ["Shared", "Dedicated", "Default"]),
        ("gs flavor update x --mode s", ["strict"]),
        ("gs instance boot --sourceType ", ["image", "volume", "snapshot"]),
        ("gs event follow --from b", ["beginning"]),
        ("gs parked list --kind ins", ["instance"]),
        ("gs event dead list --kind key", ["keypair"]),
        ("gs job list -o y", ["yaml"]),
        ("gs instance why x --graph d", ["dot"]),
        ("gs nothing show x", []),
    ],
)
def test_statuses_and_commands_need_no_service(line: str, words: list[str]) -> None:
    assert completed(line) == words


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("gs keypair create x --private-key ", ["keys/", "user-data"]),
        ("gs keypair create x --public-key keys/", ["keys/a.pub"]),
        ("gs instance boot --user-data us", ["user-data"]),
        ("gs instance boot --user-data @keys/a", ["@keys/a.pub"]),
        ("gs image create --file ./u", ["./user-data"]),
        ("gs scheduler simulate --policy k", ["keys/"]),
        ("gs event export --file .h", [".hidden"]),
        ("gs event export --file /nowhere/at/all/", []),
    ],
)
def test_names_of_files(line: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keys").mkdir()
    for name in ("keys/a.pub", "user-data", ".hidden", "$(reboot)"):
        (tmp_path / name).write_text("")
    monkeypatch.chdir(tmp_path)
    assert completed(line) == words


@pytest.mark.parametrize("words", [*EVERY, "event dead list", "event dead show"])
def test_whatever_takes_a_name_or_id_is_completed(words: str) -> None:
    for each in leaf(words).params:
        assert isinstance(each, (TyperArgument, TyperOption))
        said = (each.help or "").lower()
        if "file" in said.split() and "FILE" in str(each.metavar):
            assert each._custom_shell_complete, f"{words} {each.opts}"
        if "name or id" in said or "names or ids" in said or said == "id." or {"--status", "--fields"} & set(each.opts):
            assert each._custom_shell_complete, f"{words} {each.opts}"


@pytest.mark.usefixtures("patient")
def test_a_name_that_a_shell_may_take_for_more_than_a_word_is_not_offered(service: Service) -> None:
    names = ["plain", "a b", "$(reboot)", "x;y", "a`b`", "-f", "a\nb", "a,b", "", 7, None]
    service.on("GET /v1/flavors", {"flavors": [{"id": f"id-{each}", "name": each} for each in names]})
    offered = completed("gs flavor show ", obj=httpx.MockTransport(service.handle))
    assert offered == ["plain", "id--f", "id-", "id-7", "id-None"]
    (asked,) = service.asked
    assert dict(asked.url.params) == {"limit": "500", "fields": "name,id"}


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    "answer", [{"flavors": "none"}, {"flavors": ["x"]}, [], "text", httpx.ConnectError("x"), httpx.Response(503)]
)
def test_an_answer_that_is_none_completes_nothing(answer: Any, service: Service) -> None:
    service.on("GET /v1/flavors", answer)
    assert completed("gs flavor show ", obj=httpx.MockTransport(service.handle)) == []
    assert len(service.asked) == 1


@contextmanager
def drops() -> Iterator[tuple[str, threading.Event]]:
    """A service whose answer comes a byte at a time and has no end, and whether it was called."""
    called, over = threading.Event(), threading.Event()

    def serve(server: socket.socket) -> None:
        connection, _ = server.accept()
        called.set()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while not over.wait(0.05):
                try:
                    connection.sendall(b" ")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}", called
        finally:
            over.set()


@contextmanager
def mute() -> Iterator[str]:
    """A service that takes a connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def absent() -> Iterator[str]:
    """No service."""
    yield NOBODY


@pytest.mark.usefixtures("patient")
def test_an_answer_that_does_not_end_is_not_waited_for() -> None:
    with drops() as (url, called):
        began = time.monotonic()
        assert completed("gs flavor show ", url) == []
        assert called.is_set()
        assert time.monotonic() - began < 2 * completion.LEAST


@pytest.mark.parametrize("service", [mute, absent])
def test_a_service_that_is_slow_or_away_costs_little_and_prints_nothing(service: Any) -> None:
    """As a process, as a shell has it."""
    code = "import sys; sys.argv = ['gs']; from cli.gs.main import main; main()"
    with service() as url:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **asking("gs flavor show ", url)}
        began = time.monotonic()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        seconds = time.monotonic() - began
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")
    assert seconds < 5 * QUIET


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_the_same(shell: str, service: Service) -> None:
    service.on("GET /v1/flavors", {"flavors": [{"id": "1", "name": "small"}]})
    assert "small" in " ".join(completed("gs flavor show s", shell=shell, obj=httpx.MockTransport(service.handle)))
