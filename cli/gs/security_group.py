"""gs security-group: what is special about it, the rules."""

from typing import Annotated, Any

import typer

from cli.gs.call import Call
from cli.gs.columns import Column
from cli.gs.completion import closed, names
from cli.gs.of_kind import resource_of
from cli.gs.options import command
from cli.gs.resources import KINDS, Resource
from cli.gs.standard import argument
from domain.security_group import DEFAULT, KIND, Protocol, RuleDirection

app = typer.Typer()
SECURITY_GROUP = KINDS.setdefault(KIND.name, resource_of(KIND))
RULE = Resource(
    "rule",
    "rules",
    (
        Column("id"),
        Column("direction"),
        Column("protocol"),
        Column("port_min", "from port"),
        Column("port_max", "to port"),
        Column("cidr"),
        Column("remote_group", "remote group"),
        Column("packets"),
        Column("bytes"),
    ),
    named=False,
)
Which = Annotated[str, argument(SECURITY_GROUP)]


def ident_of(call: Call, which: str) -> str:
    """Return the id of a group; `default` is left to the service, which knows it before anybody has used it."""
    return which if which == DEFAULT else call.ident(SECURITY_GROUP, which)


def ports_of(text: str) -> tuple[int, int]:
    """Return the first and the last port of a text such as "443" or "8000-8080". Raises BadParameter."""
    low, dash, high = text.partition("-")
    try:
        return int(low), int(high if dash else low)
    except ValueError as wrong:
        raise typer.BadParameter(f"{text!r} is no port and no range: 443 or 8000-8080 is.") from wrong


@command(app, writes=True)
def rule_add(
    call: Call,
    which: Which,
    direction: Annotated[
        str,
        typer.Option(
            "--direction",
            help="ingress: connections to the members; egress: such as they open.",
            autocompletion=closed(*RuleDirection),
        ),
    ] = RuleDirection.INGRESS.value,
    protocol: Annotated[
        str, typer.Option("--protocol", help="any, tcp, udp or icmp.", autocompletion=closed(*Protocol))
    ] = Protocol.ANY.value,
    ports: Annotated[
        str | None, typer.Option("--ports", metavar="N|N-M", help="Ports of tcp or udp; every port unless given.")
    ] = None,
    cidr: Annotated[
        str | None,
        typer.Option("--cidr", help="Addresses of the other side, as 10.0.0.0/8 or ::/0; every one unless given."),
    ] = None,
    remote_group: Annotated[
        str | None,
        typer.Option(
            "--remote-group",
            help="The group that the other side has to be in, instead of a range.",
            autocompletion=names(SECURITY_GROUP),
        ),
    ] = None,
) -> None:
    """Permit connections to, or from, the members of a security group; running guests follow within seconds."""
    body: dict[str, Any] = {"direction": direction, "protocol": protocol}
    if ports is not None:
        body["port_min"], body["port_max"] = ports_of(ports)
    body |= {key: given for key, given in (("cidr", cidr), ("remote_group", remote_group)) if given is not None}
    path = SECURITY_GROUP.path(ident_of(call, which), "rules")
    call.written(SECURITY_GROUP, call.client.write("POST", path, body))


@command(app, shows=RULE)
def counters(call: Call, which: Which) -> None:
    """Show how many packets each rule has permitted, summed over the hosts that answer."""
    answer = call.client.get(SECURITY_GROUP.path(ident_of(call, which), "counters"))
    if silent := answer.get("silent"):
        named = ", ".join(answer.get("silent_hosts"))
        call.note(f"Not in the sums are hosts that have not answered in time, {silent} in all: {named}")
    elif not answer.get("complete"):
        call.note("Not in the sums: hosts of some of the group's ports, of which there are too many to look at.")
    call.table(answer, RULE)


@command(app, writes=True)
def rule_remove(
    call: Call,
    which: Which,
    rule: Annotated[str, typer.Argument(metavar="RULE", help="ID of the rule, as show has it.")],
) -> None:
    """Take a permission from a security group; connections that only this rule permitted end."""
    path = SECURITY_GROUP.path(ident_of(call, which), "rules", rule)
    call.written(SECURITY_GROUP, call.client.write("DELETE", path))
