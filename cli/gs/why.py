"""why of every group that has it: the events that led to the present, in words or as a graph."""

import inspect
import json
from enum import StrEnum
from typing import Annotated, Any

import typer

from cli.gs.call import Call
from cli.gs.options import command
from cli.gs.output import Format, write
from cli.gs.resources import CAUSE, Resource
from cli.gs.standard import argument, article, signed


class Graph(StrEnum):
    """How a graph is written."""

    DOT = "dot"
    MERMAID = "mermaid"


def add_why(app: typer.Typer, resource: Resource) -> None:
    """`why`."""

    def run(call: Call, which: str, graph: Graph | None) -> None:
        answer = call.client.get(resource.path(call.ident(resource, which), "why"))
        if graph is not None:
            write(drawn(answer.body or {}, graph))
        elif call.wish.form is Format.TABLE:
            call.table(answer, CAUSE)
        else:
            call.show_answer(answer)
        if answer.get("cut"):
            call.note("There were more events than are told here.")

    drawing = typer.Option("--graph", help="As a graph, for Graphviz or Mermaid.")
    signed(
        run,
        [
            ("which", Annotated[str, argument(resource)], inspect.Parameter.empty),
            ("graph", Annotated[Graph | None, drawing], None),
        ],
    )
    command(
        app,
        "why",
        shows=CAUSE,
        help=f"Tell why {article(resource.noun)} is as it is, from the command that made it so.",
    )(run)


def drawn(chain: dict[str, Any], graph: Graph) -> str:
    """The chain as text for a program that draws (https://graphviz.org/doc/info/lang.html, https://mermaid.js.org)."""
    numbers = {step["id"]: f"e{number}" for number, step in enumerate(chain["steps"])}
    nodes = [(numbers[step["id"]], f"{step['subject'].partition('/')[0]}: {step['says']}") for step in chain["steps"]]
    edges = [(numbers[edge["from"]], numbers[edge["to"]]) for edge in chain["edges"]]
    if graph is Graph.DOT:
        lines = [f"  {name} [label={json.dumps(text, ensure_ascii=False)}];" for name, text in nodes]
        lines += [f"  {begin} -> {end};" for begin, end in edges]
        return "digraph why {\n  node [shape=box];\n" + "\n".join(lines) + "\n}\n"
    lines = [f'  {name}["{_escaped(text)}"]' for name, text in nodes]
    lines += [f"  {begin} --> {end}" for begin, end in edges]
    return "flowchart TD\n" + "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Mermaid's own way to write what would end or mark up a text."""
    special = '#"<>&;'
    return "".join(f"#{ord(each)};" if each in special or not each.isprintable() else each for each in text)
