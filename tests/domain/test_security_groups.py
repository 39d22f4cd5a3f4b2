"""Security groups: their rules, and what is refused."""

import uuid
from datetime import UTC, datetime

import pytest

from domain.core.errors import Invalid, NotFound
from domain.core.messages import Command, Envelope, Key
from domain.security_group import (
    DEFAULT,
    MOST_RULES,
    AddSecurityGroupRule,
    CreateSecurityGroup,
    DefaultGroup,
    DeleteSecurityGroup,
    Protocol,
    RemoveSecurityGroupRule,
    RuleDirection,
    SecurityGroup,
    TooManyRules,
    decide,
    default_id,
    evolve,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GROUP = str(uuid.UUID(int=7))


def rule(**fields: object) -> AddSecurityGroupRule:
    return AddSecurityGroupRule(**{"rule_id": str(uuid.uuid4()), **fields})


def after(*commands: Command, group: str = GROUP, now: SecurityGroup | None = None) -> SecurityGroup | None:
    for command in commands:
        ident = str(uuid.uuid4())
        envelope = Envelope(ident, command, Key("security-group", group), NOW, "test", ident, project="p")
        for event in decide(now, envelope).events:
            now = evolve(now, event, group)
    return now


def test_a_group_lets_its_members_out_and_default_lets_them_reach_each_other() -> None:
    web = after(CreateSecurityGroup(name="web"))
    assert web is not None
    assert [(each.direction, each.cidr) for each in web.rules.values()] == [(RuleDirection.EGRESS, "")]
    ident = default_id("p")
    default = after(CreateSecurityGroup(name=DEFAULT), group=ident)
    assert default is not None
    assert {each.direction: each.remote_group for each in default.rules.values()} == {
        RuleDirection.EGRESS: "",
        RuleDirection.INGRESS: ident,
    }


def test_the_default_group_is_there_at_its_first_use() -> None:
    ident = default_id("p")
    group = after(rule(protocol=Protocol.ICMP), group=ident)
    assert group is not None
    assert group.name == DEFAULT
    assert len(group.rules) == 3
    with pytest.raises(DefaultGroup):
        after(DeleteSecurityGroup(), group=ident, now=group)
    with pytest.raises(NotFound):
        after(rule(), group=GROUP)


def test_what_a_rule_says_is_kept_in_one_form() -> None:
    group = after(
        CreateSecurityGroup(name="web"),
        rule(rule_id="a", protocol=Protocol.TCP, port_min=443),
        rule(rule_id="b", protocol=Protocol.UDP, port_min=1, port_max=9, cidr="10.0.0.0/8"),
        rule(rule_id="c", remote_group=GROUP),
        # What is permitted already is not added.
        rule(rule_id="d", protocol=Protocol.TCP, port_min=443, port_max=443),
        # Every address of one family is another permission than every address.
        rule(rule_id="e", protocol=Protocol.TCP, port_min=443, cidr="0.0.0.0/0"),
        rule(rule_id="f", protocol=Protocol.TCP, port_min=443, cidr="::/0"),
        rule(rule_id="g", cidr="2001:DB8::/32"),
    )
    assert group is not None
    assert group.rules.keys() & set("abcdefg") == set("abcefg")
    assert group.rules["a"].permission == ("ingress", "tcp", 443, 443, "", "")
    assert group.rules["e"].cidr == "0.0.0.0/0"
    assert group.rules["g"].cidr == "2001:db8::/32"
    assert group.rules["c"].permission == ("ingress", "any", 0, 0, "", GROUP)
    gone = after(RemoveSecurityGroupRule(rule_id="a"), now=group)
    assert gone is not None
    assert "a" not in gone.rules
    with pytest.raises(NotFound):
        after(RemoveSecurityGroupRule(rule_id="a"), now=gone)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"cidr": "10.0.0.0/33"}, "cidr"),
        ({"cidr": "10.0.0.1/8"}, "cidr"),
        ({"cidr": "2001:db8::1/32"}, "cidr"),
        ({"cidr": "fe80::%eth0/64"}, "cidr"),
        ({"cidr": "10.0.0.0/8", "remote_group": GROUP}, "cidr"),
        ({"port_min": 80}, "port_min"),
        ({"protocol": Protocol.ICMP, "port_max": 80}, "port_max"),
        ({"protocol": Protocol.TCP, "port_max": 80}, "port_min"),
        ({"protocol": Protocol.TCP, "port_min": 80, "port_max": 79}, "port_max"),
    ],
)
def test_what_makes_no_rule_is_refused_by_its_field(fields: dict[str, object], field: str) -> None:
    with pytest.raises(Invalid) as refusal:
        after(CreateSecurityGroup(name="web"), rule(**fields))
    assert refusal.value.values["field"] == field


def test_rules_are_bounded() -> None:
    many = [rule(protocol=Protocol.TCP, port_min=number) for number in range(1, MOST_RULES)]
    group = after(CreateSecurityGroup(name="web"), *many)
    with pytest.raises(TooManyRules):
        after(rule(protocol=Protocol.TCP, port_min=9999), now=group)
