"""The same answer in every format; tables that no value can break."""

import csv
import io
import json
from typing import Any

import pytest
import yaml
from rich.cells import cell_len

from cli.gs.columns import Column, bytes_in_words, flat, moment, pairs_in_words, plain
from cli.gs.output import Format, many, one
from domain.core.paths import pick

DOCUMENTS: list[dict[str, Any]] = [
    {
        "id": "1",
        "name": "web",
        "memory": 4 << 30,
        "flavor": {"name": "small"},
        "note": None,
        "ips": ["10.0.0.2", "::1"],
    },
    {"id": "2", "name": "漢字 é", "memory": 1536, "flavor": None, "note": "a,b\n\x1b[31mred", "ips": []},
]
COLUMNS = [
    Column("id"),
    Column("name"),
    Column("memory"),
    Column("flavor.name", "flavor"),
    Column("note"),
    Column("ips"),
]


def test_a_table_is_aligned_whatever_is_in_it() -> None:
    lines = many(DOCUMENTS, COLUMNS, Format.TABLE, whole=True).splitlines()
    assert lines[0].split() == ["ID", "NAME", "MEMORY", "FLAVOR", "NOTE", "IPS"]
    assert lines[1].split() == ["1", "web", "4G", "small", "-", "10.0.0.2,", "::1"]
    assert len(lines) == 3
    assert "\x1b" not in lines[2]
    assert "\\n\\x1b[31mred" in lines[2]
    starts = [cell_len(line[: line.index(text)]) for line, text in zip(lines, ("MEMORY", "4G", "1.5K"), strict=True)]
    assert len(set(starts)) == 1


def test_nothing_is_cut_where_nobody_looks() -> None:
    long = "x" * 500
    assert long in many([{"id": long}], [Column("id")], Format.TABLE, whole=True)


def test_machines_get_whole_values() -> None:
    assert json.loads(many(DOCUMENTS, COLUMNS, Format.JSON, whole=True)) == DOCUMENTS
    assert yaml.safe_load(many(DOCUMENTS, COLUMNS, Format.YAML, whole=True)) == DOCUMENTS
    rows = list(csv.reader(io.StringIO(many(DOCUMENTS, COLUMNS, Format.CSV, whole=True))))
    assert rows[0] == ["id", "name", "memory", "flavor.name", "note", "ips"]
    assert rows[1] == ["1", "web", str(4 << 30), "small", "", "10.0.0.2,::1"]
    assert rows[2][4] == "a,b\n\\x1b[31mred"
    assert many(DOCUMENTS[:1], COLUMNS[:2], Format.VALUE, whole=True) == "1\tweb\n"


def test_fields_narrow_every_format() -> None:
    shown = [Column("name"), Column("flavor.name")]
    expected = {"name": "web", "flavor.name": "small"}
    assert json.loads(many(DOCUMENTS[:1], shown, Format.JSON, whole=False)) == [expected]
    assert json.loads(one(DOCUMENTS[0], ["name", "flavor.name"], Format.JSON)) == expected
    assert one(DOCUMENTS[0], ["memory", "note"], Format.VALUE) == f"{4 << 30}\n\n"
    assert one(DOCUMENTS[0], ["memory"], Format.TABLE).split() == ["FIELD", "VALUE", "memory", "4G"]


@pytest.mark.parametrize("form", Format)
def test_one_document_in_every_format(form: Format) -> None:
    assert "web" in one(DOCUMENTS[0], [], form)


def test_parts_of_a_document_are_rows() -> None:
    host = {
        "vcpus": {"total": 8, "capacity": 32, "used": 2},
        "memory": {"total": 4 << 30, "used": 1 << 30},
        "nics": [{"ip": "a"}],
    }
    assert flat({"host": host, "extra": {"hw:x": "1"}}) == {
        "host.vcpus": "2 of 32",
        "host.memory": "1G of 4G",
        "host.nics.0": "ip=a",
        "extra.hw:x": "1",
    }


def test_values_in_words() -> None:
    values: list[Any] = [None, "", [], {}, True, False, 0]
    amounts: list[int | None] = [0, 1023, 1536, 5 << 50, None]
    assert [bytes_in_words(each) for each in amounts] == ["0", "1023", "1.5K", "5P", "-"]
    assert moment("2026-01-02T03:04:05.678901+00:00") == "2026-01-02T03:04:05Z"
    assert [plain(each) for each in values] == ["-", "-", "-", "-", "yes", "no", "0"]
    assert pick({"a.b": 1, "a": {"b": 2}}, "a.b") == 1
    assert pick({"a": {"b.c": 2}}, "a.b.c") == 2


def test_further_addresses_are_written_as_the_option_takes_them() -> None:
    pairs = [{"cidr": "10.0.0.9/32", "mac": ""}, {"cidr": "10.0.1.0/24", "mac": "52:54:00:00:00:01"}]
    assert pairs_in_words(pairs) == "10.0.0.9/32,10.0.1.0/24@52:54:00:00:00:01"
    assert (pairs_in_words([]), pairs_in_words(None)) == ("-", "-")
