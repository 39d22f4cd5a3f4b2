"""gs instance localdisk-show: the disks of an instance as its host finds them."""

from typing import Annotated

import typer

from cli.gs.call import Call
from cli.gs.columns import Column, bytes_in_words
from cli.gs.options import command
from cli.gs.resources import INSTANCE, Resource
from cli.gs.standard import argument

LOCAL_DISK = Resource(
    "local disk",
    "disks",
    (
        Column("name"),
        Column("device"),
        Column("format"),
        Column("virtual_size", "virtual size", bytes_in_words),
        Column("real_size", "real size", bytes_in_words),
        Column("path"),
        Column("backing_file", "backing file"),
    ),
    named=False,
)


def add(app: typer.Typer) -> None:
    """Add the command `localdisk-show` to a group."""
    command(app, shows=LOCAL_DISK)(localdisk_show)


def localdisk_show(call: Call, which: Annotated[str, argument(INSTANCE)]) -> None:
    """Show an instance's local disks, as its host finds them now."""
    answer = call.client.get(INSTANCE.path(call.ident(INSTANCE, which), "local-disks"))
    call.table(answer, LOCAL_DISK, LOCAL_DISK.columns)
