"""Exit statuses, names for IDs, and errors in one or two lines."""

import gzip
from pathlib import Path

import httpx
import pytest

from api.writes.boot import BootBody
from tests.cli.conftest import Gs, Service, problem


@pytest.mark.parametrize(
    ("status", "expected"),
    [(400, 1), (401, 4), (403, 4), (404, 3), (409, 1), (412, 1), (422, 1), (429, 5), (500, 1), (503, 5), (504, 5)],
)
def test_exit_status_follows_from_the_answer(gs: Gs, service: Service, status: int, expected: int) -> None:
    service.on("GET /v1/flavors", problem("any", status, "No.", "Try."))
    shown = gs("flavor", "list")
    assert shown.exit_code == expected
    assert shown.stderr == "Error: No. (any)\nHint: Try.\n"
    assert shown.stdout == ""


def test_an_unreachable_service(gs: Gs, service: Service) -> None:
    service.on("GET /v1/version", httpx.ConnectError("Connection refused"))
    shown = gs("version")
    assert shown.exit_code == 5
    assert "client" in shown.stdout
    assert "could not be reached: Connection refused" in shown.stderr


def test_a_name_serves_where_an_id_does(gs: Gs, service: Service) -> None:
    service.on("GET /v1/flavors", {"flavors": [{"id": "f1", "name": "small"}]})
    service.on("GET /v1/flavors/f1", {"id": "f1", "name": "small", "version": 1})
    shown = gs("flavor", "show", "small", "-f", "id", "-o", "value")
    assert shown.stdout == "f1\n"
    assert service.asked[0].url.params["name"] == "small"


def test_a_name_of_nothing(gs: Gs, service: Service) -> None:
    service.on("GET /v1/flavors", {"flavors": []})
    service.on("GET /v1/flavors/small", problem("not-found", 404, "There is no flavor small.", "Did you mean smaller?"))
    shown = gs("flavor", "show", "small")
    assert shown.exit_code == 3
    assert shown.stderr == "Error: There is no flavor small. (not-found)\nHint: Did you mean smaller?\n"
    shown = gs("flavor", "show", "a/b")
    assert (shown.exit_code, shown.stderr.splitlines()[-1]) == (3, "Hint: gs flavor list shows all flavors.")


def test_a_name_of_several_lists_them(gs: Gs, service: Service) -> None:
    found = [{"id": f"i{each}", "name": "web", "status": "active", "project_id": "p"} for each in (1, 2)]
    service.on("GET /v1/instances", {"instances": found})
    shown = gs("instance", "show", "web")
    assert shown.exit_code == 2
    assert (
        shown.stderr
        == "Error: 2 instances are called web: i1 active, i2 active.\nHint: Use an ID instead of the name.\n"
    )


def test_names_of_the_own_project_go_first(gs: Gs, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [{"id": f"i-{each}", "name": "web", "project_id": each} for each in ("shop", "admin")]
    service.on("GET /v1/instances", {"instances": found})
    for project in ("shop", "admin"):
        monkeypatch.setenv("GS_PROJECT", project)
        service.on(f"GET /v1/instances/i-{project}", {"id": f"i-{project}"})
        assert gs("instance", "show", "web", "-f", "id", "-o", "value").stdout == f"i-{project}\n"


def test_some_deleted_and_some_not(gs: Gs, service: Service) -> None:
    a, b = ("aaaaaaaa-0000-0000-0000-000000000000", "bbbbbbbb-0000-0000-0000-000000000000")
    service.on(f"DELETE /v1/networks/{a}", problem("in-use", 409, "Network a is in use by 1 port."))
    service.on(f"DELETE /v1/networks/{b}", {"id": b, "version": 2})
    shown = gs("network", "delete", a, b)
    assert shown.exit_code == 1
    assert f"network {b}: deleted" in shown.stderr
    assert "in use by 1 port" in shown.stderr


def test_a_switch_may_be_written_with_its_value(gs: Gs, service: Service) -> None:
    ident = "aaaaaaaa-0000-0000-0000-000000000000"
    service.on("POST /v1/instances", {"instances": []}, status=202)
    boot = ("instance", "boot", "--flavor", ident, "--no-wait")
    for words, expected in (
        (("--config-drive=false",), {"config_drive": False}),
        (("--config-drive=true", "--only-define=true"), {"config_drive": True, "only_define": True}),
        (("--only-define=false",), {"config_drive": True}),
        (("--no-config-drive", "--metadata", "a=1,b=2"), {"config_drive": False, "metadata": {"a": "1", "b": "2"}}),
        (("--ports", ident, "--name=x=true"), {"config_drive": True, "ports": [ident], "name": "x=true"}),
    ):
        assert gs(*boot, *words).exit_code == 0
        assert httpx.Response(200, content=service.asked[-1].content).json() == {"flavor": ident} | expected


@pytest.mark.parametrize(
    "content",
    [b"a: 1\r\nb: 2\r\n\r", gzip.compress(b"#cloud-config\n", mtime=0), "grüezi\n".encode(), b"\0", b"\xef\xbb\xbfx"],
)
def test_user_data_is_the_bytes_of_the_file(gs: Gs, service: Service, tmp_path: Path, content: bytes) -> None:
    ident = "aaaaaaaa-0000-0000-0000-000000000000"
    service.on("POST /v1/instances", {"instances": []}, status=202)
    file = tmp_path / "user-data"
    file.write_bytes(content)
    boot = ("instance", "boot", "--flavor", ident, "--no-wait", "--user-data", str(file))
    assert gs(*boot).exit_code == 0
    body = httpx.Response(200, content=service.asked[-1].content).json()
    assert BootBody.model_validate({**body, "image": ident}).user_data_bytes == content


def test_more_pages_are_told_of(gs: Gs, service: Service) -> None:
    service.on("GET /v1/jobs", {"jobs": [{"id": "j"}], "next": "j"})
    shown = gs("job", "list", "-l", "1", "--status", "failed")
    assert "There are more: --marker j" in shown.stderr
    assert dict(service.asked[0].url.params) == {"limit": "1", "status": "failed"}
    assert gs("job", "list", "--json").stdout == '{"jobs":[{"id":"j"}],"next":"j"}\n'
