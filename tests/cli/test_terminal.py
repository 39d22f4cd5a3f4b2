"""No name, key or message of anybody controls the terminal that it is printed on, or what a spreadsheet makes of it."""

import ast
import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import cli
from cli.gs.columns import Column
from cli.gs.output import Format, many, one
from cli.terminal import OutputLost, Verbatim, echo, write
from domain.core.text import printable
from tests.cli.conftest import Gs, Service, problem

STRANGE = "\x1b[31m\x07\r\x08\x7f\x9b2J\u200b\u202e\u2066\u2028\ufeff\u0085\U000e0041"
IDENT = "aaaaaaaa-0000-0000-0000-000000000000"
EVIL: dict[str, Any] = {
    "id": IDENT,
    "name": f"n{STRANGE}",
    "status": f"s{STRANGE}",
    "metadata": {f"k{STRANGE}": f"v{STRANGE}"},
    "flavor": {f"f{STRANGE}": {f"deep{STRANGE}": STRANGE}},
    "addresses": [f"a{STRANGE}"],
    "nics": [{f"ip{STRANGE}": STRANGE}],
    "created": f"2026-01-01T{STRANGE}",
    "version": 1,
}
texts = st.text(st.characters(codec="utf-8"), max_size=20)


def harmless(shown: str) -> bool:
    return all(each.isprintable() or each in "\n\t" for each in shown)


def test_what_is_not_seen_is_escaped() -> None:
    assert printable(f"a{STRANGE}é漢") == (
        "a\\x1b[31m\\x07\\r\\x08\\x7f\\x9b2J\\u200b\\u202e\\u2066\\u2028\\ufeff\\x85\\U000e0041é漢"
    )
    assert printable("\ud800") == "\\ud800"
    assert printable("a\nb") == "a\\nb"
    assert printable("a\nb", keep="\n") == "a\nb"


@pytest.mark.parametrize("form", Format)
def test_no_format_prints_what_controls_a_terminal(form: Format) -> None:
    columns = [Column("name"), Column("metadata"), Column(f"flavor.f{STRANGE}"), Column("nics")]
    shown = many([EVIL], columns, form, whole=True) + one(EVIL, [], form) + one(EVIL, ["metadata"], form)
    assert harmless(shown)
    assert "31m" in shown


@settings(deadline=None)
@given(texts, texts)
def test_json_and_yaml_are_read_back_as_they_were(key: str, value: str) -> None:
    document = {f"k{key}": value, "list": [value, {value: key}], "text": f"a\n{value}\nb\n"}
    for form, read in ((Format.JSON, json.loads), (Format.YAML, yaml.safe_load)):
        shown = one(document, [], form)
        assert harmless(shown)
        assert read(shown) == document


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1+2", "'+1+2"),
        ("-2+3", "'-2+3"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", "'\\t=1"),
        ("\r=1", "'\\r=1"),
        ("\uff1d1", "'\uff1d1"),
        ("-5", "-5"),
        ("+1.5e3", "+1.5e3"),
        (-5, "-5"),
        (-0.5, "-0.5"),
        ("a=b", "a=b"),
        ("a\nb", "a\nb"),
        (["=1", "x"], "'=1,x"),
    ],
)
def test_a_cell_of_csv_is_data(value: Any, cell: str) -> None:
    for shown in (many([{"a": value}], [Column("a")], Format.CSV, whole=True), one({"a": value}, [], Format.CSV)):
        assert list(csv.reader(io.StringIO(shown))) == [["a"], [cell]]


def test_lists_are_plain_words_for_programs() -> None:
    document = {"ips": ["10.0.0.2", "::1"], "name": "web", "nics": [{"ip": "a"}, {"ip": "b"}], "none": []}
    assert one(document, ["ips"], Format.VALUE) == "10.0.0.2\n::1\n"
    assert one(document, ["ips", "name"], Format.VALUE) == "10.0.0.2,::1\nweb\n"
    assert one(document, ["nics"], Format.VALUE) == '{"ip": "a"}\n{"ip": "b"}\n'
    assert one(document, ["none", "name"], Format.VALUE) == "\nweb\n"
    assert many([document], [Column("ips"), Column("name")], Format.VALUE, whole=True) == "10.0.0.2,::1\tweb\n"
    assert many([document], [Column("ips")], Format.CSV, whole=True) == 'ips\n"10.0.0.2,::1"\n'


def test_a_row_of_values_is_one_line() -> None:
    assert many([{"a": "x\ty\nz", "b": 1}], [Column("a"), Column("b")], Format.VALUE, whole=True) == "x\\ty\\nz\t1\n"
    assert one({"a": "x\ny", "b": 1}, [], Format.VALUE) == "x\\ny\n1\n"
    assert one({"a": "x\ny"}, [], Format.VALUE) == "x\ny\n"


@pytest.mark.parametrize("words", [(), ("-o", "csv"), ("-o", "value"), ("-o", "yaml"), ("-o", "json"), ("--json",)])
@pytest.mark.parametrize("command", [("show", IDENT), ("list", "--fields", "name,metadata"), ("list", "--long")])
def test_an_instance_with_strange_metadata(
    gs: Gs, service: Service, command: tuple[str, ...], words: tuple[str, ...]
) -> None:
    text = json.dumps(EVIL).encode()
    headers = {"content-type": "application/json"}
    service.on(f"GET /v1/instances/{IDENT}", httpx.Response(200, content=text, headers=headers))
    service.on("GET /v1/instances", httpx.Response(200, content=b'{"instances":[' + text + b"]}", headers=headers))
    shown = gs("instance", *command, *words)
    assert shown.exit_code == 0
    assert harmless(shown.stdout)
    assert "31m" in shown.stdout


def test_raw_json_that_the_service_did_not_escape(gs: Gs, service: Service) -> None:
    content = '{"jobs":[{"id":"a\u202e\x7f\u009b"}],"next":null}'.encode()
    service.on("GET /v1/jobs", httpx.Response(200, content=content, headers={"content-type": "application/json"}))
    shown = gs("job", "list", "--json")
    assert shown.stdout == '{"jobs":[{"id":"a\\u202e\\u007f\\u009b"}],"next":null}\n'


def test_errors_hints_and_the_exchange(gs: Gs, service: Service) -> None:
    service.on("GET /v1/flavors", problem("any", 409, f"No {STRANGE}\nError: forged", f"Try {STRANGE}"))
    shown = gs("flavor", "list", "--debug")
    assert shown.exit_code == 1
    assert harmless(shown.stderr)
    assert "\\nError: forged (any)\n" in shown.stderr


def test_the_words_of_wrong_usage(gs: Gs) -> None:
    for words in (("\x1b[31m",), ("flavor", "\x1b[31m"), ("flavor", "create", "x", "--core", "\x1b[31m")):
        shown = gs(*words)
        assert shown.exit_code == 2
        assert "\x1b[31m" not in shown.output


def test_followed_events(gs: Gs, service: Service) -> None:
    event = {"time": "2026", "type": f"t{STRANGE}\n", "subject": STRANGE, "actor": STRANGE, "data": {STRANGE: STRANGE}}
    content = f"id: 1\ndata: {json.dumps(event)}\n\nid: 2\nevent: end\ndata: {{}}\n\n".encode()
    for words in ((), ("-o", "csv"), ("-o", "value"), ("-o", "json"), ("-o", "yaml"), ("--json",)):
        service.on("GET /v1/events/stream", httpx.Response(200, content=content))
        shown = gs("event", "follow", *words)
        assert (shown.exit_code, harmless(shown.output)) == (0, True), words


def test_a_graph_of_causes(gs: Gs, service: Service) -> None:
    step = {"id": "1", "subject": f"instance/{IDENT}", "says": STRANGE, "actor": STRANGE, "causation_id": "c"}
    step |= {"correlation_id": "c", "time": "", "type": "", "place": ""}
    service.on(f"GET /v1/instances/{IDENT}/why", {"id": IDENT, "steps": [step], "edges": [], "cut": False})
    for words in ((), ("--graph", "dot"), ("--graph", "mermaid")):
        shown = gs("instance", "why", IDENT, *words)
        assert (shown.exit_code, harmless(shown.output)) == (0, True)


def test_only_what_is_meant_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    write(Verbatim("\x1b[1mbold"))
    write("\x1b[1m\n")
    echo("a\nb")
    echo("\x1b", err=True)
    said = capsys.readouterr()
    assert said.out == "\x1b[1mbold\\x1b[1m\na\\nb\n"
    assert said.err == "\\x1b\n"


def test_standard_output_that_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(OutputLost):
        write("x")


ALLOWED = {
    "terminal.py": "the place itself",
    "gs/main.py": "help and version, which are the program's own text",
    "gs/output.py": "rich's table, whose cells are escaped before",
}


def test_nothing_is_printed_elsewhere() -> None:
    """Every print(), echo of typer's and write to a standard stream, by the file it is in."""
    found = set()
    room = Path(cli.__file__).parent
    for path in sorted(room.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            said = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if said in ("print", "typer.echo", "typer.secho", "click.echo", "console.print") or said.startswith(
                ("sys.stdout.write", "sys.stderr.write")
            ):
                found.add(str(path.relative_to(room)))
    assert found == set(ALLOWED)
