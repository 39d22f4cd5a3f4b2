"""gs flavor: the sizes of instances."""

from typing import Annotated, Any

import typer

from cli.gs.call import Call
from cli.gs.completion import closed
from cli.gs.options import command
from cli.gs.parsing import one_name, pairs, size, words
from cli.gs.resources import FLAVOR
from cli.gs.standard import add_delete, add_list, add_show, argument
from cli.gs.story import add_story

app = typer.Typer()

Core = Annotated[int | None, typer.Option("--core", min=1, help="Number of virtual CPUs.")]
Memory = Annotated[str | None, typer.Option("--memory", help="Memory in bytes, or with K, M, G, T or P.")]
Disk = Annotated[
    str | None,
    typer.Option("--disk", metavar="SIZE", help="Size of its instances' root disks, as 20G; 0 for the image's."),
]
Mode = Annotated[
    str | None, typer.Option("--mode", help="CPU mode: strict or prefer.", autocompletion=closed("strict", "prefer"))
]
MultiQueue = Annotated[
    int | None, typer.Option("--multi_queue", min=0, help="Number of queues of a network interface.")
]
Policy = Annotated[
    str | None,
    typer.Option(
        "--policy",
        help="CPU policy: Shared, Dedicated or Default.",
        autocompletion=closed("Shared", "Dedicated", "Default"),
    ),
]
Spec = Annotated[list[str] | None, typer.Option("--spec", help='Extra specs: "K"="V","K2"="V2".')]
Which = Annotated[str, argument(FLAVOR)]

add_list(app, FLAVOR)


@command(app, writes=True)
def create(
    call: Call,
    argument: Annotated[str | None, typer.Argument(metavar="NAME", help="Name of the flavor, or --name.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the flavor.")] = None,
    core: Core = None,
    memory: Memory = None,
    mode: Mode = None,
    multi_queue: MultiQueue = None,
    policy: Policy = None,
    disk: Disk = None,
    spec: Spec = None,
) -> None:
    """Create a flavor, a size of instances."""
    if core is None or memory is None:
        raise typer.BadParameter("--core and --memory are needed.")
    body = _body(one_name(argument, name), core, memory, mode, multi_queue, policy, disk)
    if spec:
        body["extra"] = pairs(spec)
    call.written(FLAVOR, call.client.write("POST", FLAVOR.path(), body))


@command(app, writes=True)
def update(
    call: Call,
    which: Which,
    name: Annotated[str | None, typer.Option("--name", help="New name of the flavor.")] = None,
    core: Core = None,
    memory: Memory = None,
    mode: Mode = None,
    multi_queue: MultiQueue = None,
    policy: Policy = None,
    disk: Disk = None,
) -> None:
    """Change a flavor; instances that have it keep their size."""
    body = _body(name, core, memory, mode, multi_queue, policy, disk)
    if not body:
        raise typer.BadParameter("Nothing is to be changed.")
    ident = call.ident(FLAVOR, which)
    call.written(FLAVOR, call.client.write("PATCH", FLAVOR.path(ident), body), ident)


add_show(app, FLAVOR, past=True)
add_story(app, FLAVOR)
add_delete(app, FLAVOR)


@command(app, writes=True)
def add_extra(
    call: Call,
    which: Which,
    extra: Annotated[list[str], typer.Argument(metavar="KEY=VALUE", help="One or several of them.")],
) -> None:
    """Add extra specs to a flavor, or change them."""
    wanted = pairs(extra)
    ident = call.ident(FLAVOR, which)
    call.written(FLAVOR, call.client.write("POST", FLAVOR.path(ident, "extra"), {"extra": wanted}), ident)


@command(app, writes=True)
def delete_extra(
    call: Call, which: Which, keys: Annotated[list[str], typer.Argument(metavar="KEY", help="One or several of them.")]
) -> None:
    """Remove extra specs from a flavor."""
    ident = call.ident(FLAVOR, which)
    params = {"keys": ",".join(words(keys) or ())}
    call.written(FLAVOR, call.client.write("DELETE", FLAVOR.path(ident, "extra"), params=params), ident)


def _body(
    name: str | None,
    core: int | None,
    memory: str | None,
    mode: str | None,
    multi_queue: int | None,
    policy: str | None,
    disk: str | None,
) -> dict[str, Any]:
    """Return the fields of a request from the options that were given."""
    given = {
        "name": name,
        "core": core,
        "memory": size(memory) if memory is not None else None,
        "mode": mode,
        "multi_queue": multi_queue,
        "policy": policy,
        "disk": size(disk) if disk is not None else None,
    }
    return {key: value for key, value in given.items() if value is not None}
