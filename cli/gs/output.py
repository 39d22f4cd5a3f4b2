"""Formats of answers: table, json, yaml, csv, value.

Why one file: every command prints through these functions, so a format means the same everywhere. Tables are for
people; the others hold whole values, for machines. In all of them control characters are escaped as the format has it:
json and yaml are read back as they were.
"""

import csv
import io
import json
import re
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from cli.gs.columns import Column, bare, flat, listed
from cli.terminal import Verbatim, on_terminal
from domain.core.paths import pick
from domain.core.text import escaped, printable

STYLES = {
    "active": "green",
    "up": "green",
    "enabled": "green",
    "finished": "green",
    "error": "red",
    "failed": "red",
    "disabled": "yellow",
    "suspect": "yellow",
    "building": "yellow",
    "running": "yellow",
    "undoing": "yellow",
}
"""Colours of statuses on a terminal."""
Document = dict[str, Any]
FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""Beginnings of a cell that a spreadsheet takes for a formula; OWASP's list."""
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")


class Format(StrEnum):
    """The format of a printed answer."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"
    VALUE = "value"


def many(documents: Sequence[Document], columns: Sequence[Column], form: Format, *, whole: bool) -> str:
    """Return a list as text. With `whole`, formats for programs have whole documents instead of columns."""
    match form:
        case Format.JSON:
            return _json([each if whole else _only(each, columns) for each in documents])
        case Format.YAML:
            return _yaml([each if whole else _only(each, columns) for each in documents])
        case Format.CSV:
            return _csv([[each.path for each in columns], *(_bare(each, columns) for each in documents)])
        case Format.VALUE:
            return "".join("\t".join(map(printable, _bare(each, columns))) + "\n" for each in documents)
        case Format.TABLE:
            headings = [column.heading.upper() for column in columns]
            rows = [[column.cell(each) for column in columns] for each in documents]
            return _table(headings, rows, {index for index, each in enumerate(columns) if each.path == "id"})


def one(document: Document, fields: Sequence[str], form: Format) -> str:
    """Return a document as text, whole or with only these fields."""
    shown = {field: pick(document, field) for field in fields} if fields else document
    match form:
        case Format.JSON:
            return _json(shown)
        case Format.YAML:
            return _yaml(shown)
        case Format.CSV:
            return _csv([list(shown), [bare(value) for value in shown.values()]])
        case Format.VALUE:
            # Lines of a list, or of a text, are told apart only where they are all there is.
            alone = len(shown) == 1
            return "".join(
                printable("\n".join(listed(value)) if alone else bare(value), keep="\n" if alone else "") + "\n"
                for value in shown.values()
            )
        case Format.TABLE:
            return _table(["FIELD", "VALUE"], [[name, cell] for name, cell in flat(shown).items()], {0})


def _only(document: Document, columns: Sequence[Column]) -> Document:
    return {column.path: column.value(document) for column in columns}


def _bare(document: Document, columns: Sequence[Column]) -> list[str]:
    return [bare(column.value(document)) for column in columns]


def _json(value: Any) -> str:
    return escaped_json(json.dumps(value, indent=2, ensure_ascii=False)) + "\n"


def escaped_json(text: str) -> str:
    """Return JSON that means the same, with control characters as JSON escapes them."""
    return escaped(text, lambda each: json.dumps(each)[1:-1], keep="\n")


def _yaml(value: Any) -> str:
    import yaml

    class Quoting(yaml.SafeDumper):
        """A dumper that puts texts with control characters in double quotes, where they can be escaped."""

    def text(dumper: yaml.SafeDumper, data: str) -> yaml.Node:
        style = None if printable(data, keep="\n") == data else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=style)

    Quoting.add_representer(str, text)
    shown = yaml.dump(value, Dumper=Quoting, sort_keys=False, allow_unicode=True, default_flow_style=False)
    return escaped(shown, _escaped_in_yaml, keep="\n")


def _escaped_in_yaml(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _csv(rows: Sequence[Sequence[str]]) -> str:
    paper = io.StringIO()
    csv.writer(paper, lineterminator="\n").writerows([_data(each) for each in row] for row in rows)
    return paper.getvalue()


def _data(cell: str) -> str:
    """Return a cell that a spreadsheet takes for data: one that looks like a formula gets an apostrophe before it."""
    mark = "'" if cell.startswith(FORMULA) and not NUMBER.fullmatch(cell) else ""
    return mark + printable(cell, keep="\n")


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], never_cut: set[int]) -> str:
    """Return a table as text: as wide as the terminal, or without limit if there is none."""
    headings, rows = [printable(each) for each in headings], [[printable(cell) for cell in row] for row in rows]
    return _fitted(headings, rows, never_cut) if on_terminal() else _aligned([headings, *rows])


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "".join(line.rstrip() + "\n" for line in lines)


def _fitted(headings: Sequence[str], rows: Sequence[Sequence[str]], never_cut: set[int]) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for index, heading in enumerate(headings):
        table.add_column(heading, overflow="fold", no_wrap=index in never_cut)
    for row in rows:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    console = Console(file=sys.stdout, emoji=False, markup=False, highlight=False)
    with console.capture() as capture:
        console.print(table)
    return Verbatim(capture.get())
