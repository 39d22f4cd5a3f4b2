"""gs instance interface-list: an instance's network interfaces, with the settings of their ports."""

from typing import Annotated

import typer

from cli.gs.call import Call
from cli.gs.columns import Column, pairs_in_words
from cli.gs.options import command
from cli.gs.problems import Missing
from cli.gs.resources import INSTANCE, Resource
from cli.gs.standard import argument

INTERFACE = Resource(
    "interface",
    "interfaces",
    (
        Column("index"),
        Column("network_name", "network"),
        Column("ip"),
        Column("ip6"),
        Column("mac"),
        Column("port_id", "port"),
        Column("port_name", "port name"),
        Column("security_group_ids", "security groups"),
    ),
    long=(
        Column("port_security", "port security"),
        Column("network_id", "network id"),
        Column("gateway"),
        Column("gateway6"),
        Column("allowed_pairs", "allowed pairs", pairs_in_words),
        Column("egress_kbit", "egress kbit/s"),
        Column("ingress_kbit", "ingress kbit/s"),
    ),
    named=False,
)


def add(app: typer.Typer) -> None:
    """Add the command `interface-list` to a group."""
    command(app, shows=INTERFACE)(interface_list)


def interface_list(
    call: Call,
    which: Annotated[str, argument(INSTANCE)],
    long: Annotated[bool, typer.Option("--long", help="Show more columns.")] = False,
) -> None:
    """List an instance's network interfaces with the settings of their ports, also while it is soft-deleted."""
    from cli.gs.verbs import AMONG_DELETED

    try:
        ident = call.ident(INSTANCE, which)
    except Missing as missing:
        try:
            ident = call.ident(INSTANCE, which, **AMONG_DELETED)
        except Missing:
            raise missing from None
    columns = INTERFACE.columns + (INTERFACE.long if long else ())
    call.table(call.client.get(INSTANCE.path(ident, "interfaces")), INTERFACE, columns)
