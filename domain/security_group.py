"""Security groups: which connections a guest may open, and which may be opened to it.

A group is a list of permissions; what no rule of any group of a port permits is dropped. Answers to what was permitted
need no rule. A port of no group is in the project's group `default`, which exists from the first use on: its members
may reach everything, and each other.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, ClassVar

from pydantic import Field

from domain.core.errors import AlreadyExists, Category, Invalid, NotFound, Refusal
from domain.core.fields import OPERATORS_ONLY, PERSONAL, Refers
from domain.core.ipv6 import LONGEST, any_range
from domain.core.messages import Command, Decision, Envelope, Event, Model, derived_id, named_id
from domain.kind import Kind, Unique
from domain.named import Named

DEFAULT = "default"
"""Name of the group that a project's ports are in unless they are given others."""
MOST_GROUPS = 16
"""Groups that one port can be in."""
MOST_RULES = 200
"""Rules that one group can have."""
EVERYWHERE = ""
"""The range of all addresses, IPv4 and IPv6. Rules of an earlier release have 0.0.0.0/0, which is IPv4 alone."""


class RuleDirection(StrEnum):
    """Direction in which a connection is opened, as the guest sees it."""

    INGRESS = "ingress"
    EGRESS = "egress"


class Protocol(StrEnum):
    """The protocol of a connection."""

    ANY = "any"
    TCP = "tcp"
    UDP = "udp"
    ICMP = "icmp"
    """ICMP of IPv4, and ICMPv6."""


class SecurityRule(Model):
    """A permission to open connections."""

    id: str
    direction: RuleDirection = RuleDirection.INGRESS
    protocol: Protocol = Protocol.ANY
    port_min: int = 0
    """First port of the range that is permitted; 0: every port."""
    port_max: int = 0
    """Last port of the range."""
    cidr: str = ""
    """The other side's addresses, of IPv4 or of IPv6; empty: all of both, or those of the group that is named."""
    remote_group: str = ""
    """Id of the group that the other side has to be in; empty: it need not be in one."""

    @property
    def permission(self) -> tuple[Any, ...]:
        """Direction, protocol, ports and other side of the rule, without its identity."""
        return (self.direction, self.protocol, self.port_min, self.port_max, self.cidr, self.remote_group)


class SecurityGroup(Model):
    """A named list of permissions."""

    id: str
    project: str
    name: Annotated[str, PERSONAL]
    description: Annotated[str, PERSONAL] = ""
    rules: dict[str, SecurityRule] = {}
    """Rule id -> the rule."""
    created: datetime
    updated: datetime
    deleted: datetime | None = None


class SecurityGroupCommand(Command):
    """A command for a security group."""

    abstract: ClassVar[bool] = True
    kind = "security-group"


class CreateSecurityGroup(SecurityGroupCommand):
    """Create a security group, whose members may reach everything and be reached by nobody until rules are added."""

    name: Annotated[str, PERSONAL]
    description: Annotated[str, PERSONAL] = ""


class UpdateSecurityGroup(SecurityGroupCommand):
    """Change a security group's description; its name stays, since it is unique in the project."""

    description: Annotated[str | None, PERSONAL] = None


class DeleteSecurityGroup(SecurityGroupCommand):
    """Delete a security group that no port is in."""

    relieves: ClassVar[bool] = True


class AddSecurityGroupRule(SecurityGroupCommand):
    """Permit connections to, or from, the members of a security group; running guests follow within seconds."""

    rule_id: Annotated[str, OPERATORS_ONLY]
    direction: RuleDirection = RuleDirection.INGRESS
    """Whether connections to the members are permitted (ingress) or such as they open (egress)."""
    protocol: Protocol = Protocol.ANY
    """Protocol that is permitted: any, tcp, udp or icmp, which is ICMPv6 for IPv6."""
    port_min: Annotated[int, Field(ge=0, le=65535)] = 0
    """First port that is permitted, of tcp or udp; every port unless given."""
    port_max: Annotated[int, Field(ge=0, le=65535)] = 0
    """Last port that is permitted; the first one unless given."""
    cidr: Annotated[str, Field(max_length=LONGEST)] = ""
    """Addresses of the other side, as 10.0.0.0/8 or 2001:db8::/32; every address of IPv4 and IPv6 unless this or a
    group is given."""
    remote_group: Annotated[str, Refers("security-group"), Field(max_length=255)] = ""
    """The group that the other side has to be in (name or ID), on the same network."""


class RemoveSecurityGroupRule(SecurityGroupCommand):
    """Take a permission from a security group; running guests follow within seconds, also for open connections."""

    rule_id: str


class SecurityGroupEvent(Event):
    """A fact about a security group."""

    abstract: ClassVar[bool] = True
    kind = "security-group"


class SecurityGroupCreated(SecurityGroupEvent):
    """The security group exists, with these rules."""

    project: str
    name: Annotated[str, PERSONAL]
    description: Annotated[str, PERSONAL] = ""
    rules: tuple[SecurityRule, ...] = ()
    at: datetime


class SecurityGroupUpdated(SecurityGroupEvent):
    """The security group changed; a field that is None stays as it was."""

    description: Annotated[str | None, PERSONAL] = None
    at: datetime


class SecurityGroupDeleted(SecurityGroupEvent):
    """The security group is deleted; what it permitted is not permitted by it any more."""

    at: datetime


class SecurityGroupRuleAdded(SecurityGroupEvent):
    """The security group permits this, too."""

    rule: SecurityRule
    at: datetime


class SecurityGroupRuleRemoved(SecurityGroupEvent):
    """The security group does not permit this any more."""

    rule_id: str
    at: datetime


class TooManyRules(Refusal):
    """Security group {id} has {most} rules, which is the most that one can have."""

    code = "too-many-rules"
    category = Category.CONFLICT
    hint = "Name ranges instead of single addresses, or use a second group: a port can be in several."


class DefaultGroup(Refusal):
    """The security group default of a project cannot be deleted."""

    code = "default-group"
    category = Category.CONFLICT
    hint = "Take its rules away instead: gs security-group rule-remove."


RULES = Named(
    "security-group",
    SecurityGroup,
    CreateSecurityGroup,
    SecurityGroupCreated,
    DeleteSecurityGroup,
    SecurityGroupDeleted,
    UpdateSecurityGroup,
    SecurityGroupUpdated,
)


@lru_cache(1 << 12)
def default_id(project: str) -> str:
    """Return the id of a project's group `default`. Cached, since every row of a port has it."""
    return named_id("security-group", project, DEFAULT)


def first_rules(group_id: str, name: str) -> tuple[SecurityRule, ...]:
    """Return the rules that a group begins with: its members may reach everything and, in the group `default`, each
    other."""
    out = SecurityRule(id=derived_id(group_id, "egress"), direction=RuleDirection.EGRESS, cidr=EVERYWHERE)
    within = SecurityRule(id=derived_id(group_id, "ingress"), direction=RuleDirection.INGRESS, remote_group=group_id)
    return (out, within) if name == DEFAULT else (out,)


def evolve(now: SecurityGroup | None, event: Event, subject_id: str) -> SecurityGroup:
    """Return the group after this event. Raises TypeError for an event of another kind."""
    match event:
        case SecurityGroupCreated():
            return SecurityGroup(
                id=subject_id,
                project=event.project,
                name=event.name,
                description=event.description,
                rules={rule.id: rule for rule in event.rules},
                created=event.at,
                updated=event.at,
            )
        case SecurityGroupRuleAdded() if now is not None:
            return now.but(rules={**now.rules, event.rule.id: event.rule}, updated=event.at)
        case SecurityGroupRuleRemoved() if now is not None:
            left = {ident: rule for ident, rule in now.rules.items() if ident != event.rule_id}
            return now.but(rules=left, updated=event.at)
        case _:
            return RULES.evolve(now, event, subject_id)


def decide(now: SecurityGroup | None, envelope: Envelope) -> Decision:
    """Return the events of a command. Raises a Refusal."""
    if now is None and not isinstance(envelope.data, CreateSecurityGroup):
        made = _default(envelope)
        if made is not None:
            decision = decide(evolve(None, made, envelope.subject.id), envelope)
            return Decision([made, *decision.events]) if decision.events else decision
    match envelope.data:
        case CreateSecurityGroup() as command:
            decision = RULES.decide(now, envelope)
            rules = first_rules(envelope.subject.id, command.name)
            return Decision([event.model_copy(update={"rules": rules}) for event in decision.events])
        case DeleteSecurityGroup():
            if RULES.alive(now, envelope).name == DEFAULT:
                raise DefaultGroup
            return RULES.decide(now, envelope)
        case AddSecurityGroupRule() as command:
            return _added(RULES.alive(now, envelope), command, envelope)
        case RemoveSecurityGroupRule(rule_id=rule_id):
            if rule_id not in RULES.alive(now, envelope).rules:
                raise NotFound(kind="security group rule", id=rule_id)
            return Decision([SecurityGroupRuleRemoved(rule_id=rule_id, at=envelope.time)])
        case _:
            return RULES.decide(now, envelope)


def _default(envelope: Envelope) -> SecurityGroupCreated | None:
    """Return the creation of the project's group `default`, where a command is for it before anybody has used it; None
    for any other group."""
    ident = envelope.subject.id
    if ident != default_id(envelope.project):
        return None
    rules = first_rules(ident, DEFAULT)
    return SecurityGroupCreated(project=envelope.project, name=DEFAULT, rules=rules, at=envelope.time)


def _added(group: SecurityGroup, command: AddSecurityGroupRule, envelope: Envelope) -> Decision:
    rule = _rule(command)
    if any(rule.permission == each.permission for each in group.rules.values()):
        return Decision()
    if command.rule_id in group.rules:
        raise AlreadyExists(kind="security group rule", id=command.rule_id)
    if len(group.rules) >= MOST_RULES:
        raise TooManyRules(id=group.id, most=MOST_RULES)
    return Decision([SecurityGroupRuleAdded(rule=rule, at=envelope.time)])


def _rule(command: AddSecurityGroupRule) -> SecurityRule:
    """Return the rule that a command asks for. Raises Invalid."""
    if command.cidr and command.remote_group:
        raise Invalid(field="cidr", value=command.cidr, allowed="give a range or a group, not both")
    values: Mapping[str, Any] = {
        "port_min": command.port_min,
        "port_max": command.port_max or command.port_min,
        "cidr": _range(command.cidr) if command.cidr else EVERYWHERE,
    }
    low, high = values["port_min"], values["port_max"]
    if high and command.protocol not in (Protocol.TCP, Protocol.UDP):
        field = "port_min" if low else "port_max"
        raise Invalid(field=field, value=low or high, allowed="ports are of tcp or udp")
    if high and not low:
        raise Invalid(field="port_min", value=low, allowed="the first port of the range is needed, 1 to 65535")
    if low > high:
        raise Invalid(field="port_max", value=high, allowed=f"it must not be below the first port, {low}")
    given = {"id": command.rule_id, "direction": command.direction, "protocol": command.protocol}
    return SecurityRule(**given, remote_group=command.remote_group, **values)


def _range(cidr: str) -> str:
    try:
        return str(any_range(cidr))
    except ValueError as wrong:
        allowed = f"a range such as 10.0.0.0/8 or 2001:db8::/32 is needed ({wrong})"
        raise Invalid(field="cidr", value=cidr, allowed=allowed) from wrong


KIND = Kind(
    name="security-group",
    help="Which connections guests may have.",
    state=SecurityGroup,
    evolve=evolve,
    unique=Unique.PROJECT,
    create=CreateSecurityGroup,
    update=UpdateSecurityGroup,
    delete=DeleteSecurityGroup,
    shown=("description",),
)
