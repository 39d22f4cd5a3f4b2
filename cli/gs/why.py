"""why of every group that has it: the events that led to the present, in words or as a graph."""

import inspect
import json
from enum import StrEnum
from typing import Annotated, Any

import typer

from cli.gs.call import Call
from cli.gs.options import command
from cli.gs.output import Format, escaped_json
from cli.gs.resources import CAUSE, Resource
from cli.gs.standard import argument, article, signed
from cli.terminal import write


class Graph(StrEnum):
    """The format of a graph of causes."""

    DOT = "dot"
    MERMAID = "mermaid"


def add_why(app: typer.Typer, resource: Resource) -> None:
    """Add the command `why` to a group."""

    def run(call: Call, which: str, graph: Graph | None) -> None:
        answer = call.client.get(resource.path(call.ident(resource, which), "why"))
        if graph is not None:
            write(drawn(answer.body or {}, graph))
        elif call.options.form is Format.TABLE:
            call.table(answer, CAUSE)
        else:
            call.show_answer(answer)
        if answer.get("cut"):
            call.note("There are more events than are shown here.")

    drawing = typer.Option("--graph", help="Print a graph for Graphviz or Mermaid.")
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
        help=f"Explain why {article(resource.noun)} is as it is, from the command that made it so.",
    )(run)


def drawn(chain: dict[str, Any], graph: Graph) -> str:
    """Return the chain as the text of a graph (https://graphviz.org/doc/info/lang.html, https://mermaid.js.org)."""
    numbers = {step["id"]: f"e{number}" for number, step in enumerate(chain["steps"])}
    nodes = [(numbers[step["id"]], f"{step['subject'].partition('/')[0]}: {step['says']}") for step in chain["steps"]]
    ends = [(edge["from"], edge["to"]) for edge in chain["edges"]]
    edges = [(numbers[begin], numbers[end]) for begin, end in ends if begin in numbers and end in numbers]
    if graph is Graph.DOT:
        lines = [f"  {name} [label={escaped_json(json.dumps(text, ensure_ascii=False))}];" for name, text in nodes]
        lines += [f"  {begin} -> {end};" for begin, end in edges]
        return "digraph why {\n  node [shape=box];\n" + "\n".join(lines) + "\n}\n"
    lines = [f'  {name}["{_escaped(text)}"]' for name, text in nodes]
    lines += [f"  {begin} --> {end}" for begin, end in edges]
    return "flowchart TD\n" + "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Return a text with the characters escaped that Mermaid would interpret."""
    special = '#"<>&;'
    return "".join(f"#{ord(each)};" if each in special or not each.isprintable() else each for each in text)
