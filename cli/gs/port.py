"""gs port: addresses of networks that are reserved for instances."""

from typing import Annotated, Any

import typer

from cli.gs.call import Call
from cli.gs.completion import names, narrowed
from cli.gs.options import command
from cli.gs.parsing import words
from cli.gs.resources import NETWORK, PORT, Narrowing
from cli.gs.standard import add_delete, add_list, add_show, argument

app = typer.Typer()

add_list(app, PORT)
add_show(app, PORT)


Groups = Annotated[
    str | None,
    typer.Option(
        "--security-group-ids",
        help="Security groups of the port (names or IDs): a,b; the project's default unless given.",
        autocompletion=narrowed(Narrowing("--security-group-ids", "", of="security-group", several=True)),
    ),
]
Secure = Annotated[
    bool | None,
    typer.Option(
        "--port-security/--no-port-security",
        help="Whether the guest may send from its own addresses alone, and its security groups hold.",
    ),
]
Pairs = Annotated[
    str | None,
    typer.Option(
        "--allowed-pairs",
        metavar="CIDR[@MAC],…",
        help="Addresses that the guest may send from besides its own: 10.0.0.9,10.0.1.0/24@52:54:00:00:00:01,fd00::9; "
        "an empty text takes them away.",
    ),
]
Egress = Annotated[
    int | None, typer.Option("--egress-kbit", min=0, help="Most that the guest may send, in kbit/s; 0: no limit.")
]
Ingress = Annotated[
    int | None, typer.Option("--ingress-kbit", min=0, help="Most that the guest may receive, in kbit/s; 0: no limit.")
]


def settings_of(
    groups: str | None, secure: bool | None, pairs: str | None, egress: int | None, ingress: int | None
) -> dict[str, Any]:
    """Return the fields of a request that were given."""
    fields: dict[str, Any] = {"port_security": secure, "egress_kbit": egress, "ingress_kbit": ingress}
    if groups is not None:
        fields["security_group_ids"] = [each for each in words([groups]) or [] if each]
    if pairs is not None:
        split = [each.partition("@") for each in words([pairs]) or [] if each]
        fields["allowed_pairs"] = [{"cidr": cidr, "mac": mac} for cidr, _, mac in split]
    return {name: value for name, value in fields.items() if value is not None}


@command(app, writes=True)
def create(
    call: Call,
    network: Annotated[
        str, typer.Option("--network", help="Name or ID of the network.", autocompletion=names(NETWORK))
    ],
    argument: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Name of the port, or --name; optional.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the port.")] = None,
    ip: Annotated[str | None, typer.Option("--ip", help="Address of the port; a free one unless given.")] = None,
    mac: Annotated[
        str | None, typer.Option("--mac", help="MAC address of the port; it follows from the address unless given.")
    ] = None,
    security_group_ids: Groups = None,
    port_security: Secure = None,
    allowed_pairs: Pairs = None,
    egress_kbit: Egress = None,
    ingress_kbit: Ingress = None,
) -> None:
    """Create a port, an address of a network."""
    if argument and name and argument != name:
        raise typer.BadParameter(f"Two names were given: {argument} and {name}.")
    body: dict[str, Any] = {"network": call.ident(NETWORK, network)}
    given = (("name", name or argument), ("ip", ip), ("mac", mac))
    body |= {key: value for key, value in given if value is not None}
    body |= settings_of(security_group_ids, port_security, allowed_pairs, egress_kbit, ingress_kbit)
    call.written(PORT, call.client.write("POST", PORT.path(), body))


@command(app, writes=True)
def update(
    call: Call,
    which: Annotated[str, argument(PORT)],
    name: Annotated[
        str | None, typer.Option("--name", help="New name of the port; an empty one takes it away.")
    ] = None,
    security_group_ids: Groups = None,
    port_security: Secure = None,
    allowed_pairs: Pairs = None,
    egress_kbit: Egress = None,
    ingress_kbit: Ingress = None,
) -> None:
    """Change a port; its address and its network stay, and a running guest follows within seconds."""
    body = {} if name is None else {"name": name}
    body |= settings_of(security_group_ids, port_security, allowed_pairs, egress_kbit, ingress_kbit)
    if not body:
        raise typer.BadParameter("Nothing is to be changed.")
    ident = call.ident(PORT, which)
    call.written(PORT, call.client.write("PATCH", PORT.path(ident), body), ident)


add_delete(app, PORT)
