"""Security groups: which connections guests may have."""

from collections.abc import Callable
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body
from pydantic import Field
from starlette.responses import Response

from api import standard
from api.documents.document import Document
from api.hosts import rule_counters
from api.http.permissions import needs
from api.http.request_context import ProjectDep, RequestContext, RequestContextDep, ServicesDep
from api.openapi import describe, examples
from api.reads import resolve, security_groups
from api.reads.queries import JSON
from api.resource import of_kind
from api.services import Services
from api.writes import command_bus
from api.writes.command_bus import CommandRequest
from api.writes.command_responses import CREATED, answer
from domain.core.errors import InUse
from domain.core.messages import Key, derived_id
from domain.network.on_host import RuleCount
from domain.security_group import (
    KIND,
    AddSecurityGroupRule,
    DeleteSecurityGroup,
    RemoveSecurityGroupRule,
    SecurityGroupCommand,
    default_id,
)
from projections.views.view import Condition, Query

router = APIRouter(tags=["security groups"])

VIEW = security_groups.VIEW


class SecurityRuleDocument(Document):
    """A permission to open connections."""

    id: str
    direction: str
    protocol: str
    port_min: int
    port_max: int
    cidr: str
    remote_group: str


class SecurityGroupDocument(Document):
    """A security group: a list of permissions. What no rule of a port's groups permits is dropped."""

    id: str
    project_id: str
    name: str
    description: str
    rules: dict[str, SecurityRuleDocument]
    created: str
    updated: str
    deleted: str | None
    version: int


RULE_ID = "5f0e3b8e-5b0c-5d43-8a7c-0d6a0f3f9d11"
EXAMPLE: dict[str, Any] = {
    "id": examples.SECURITY_GROUP_ID,
    "project_id": "admin",
    "name": "web",
    "description": "what the world may reach",
    "rules": {
        RULE_ID: {
            "id": RULE_ID,
            "direction": "ingress",
            "protocol": "tcp",
            "port_min": 443,
            "port_max": 443,
            "cidr": "",
            "remote_group": "",
        }
    },
    "created": examples.NOW,
    "updated": examples.NOW,
    "deleted": None,
    "version": 2,
}
MOST_NAMED = 100
"""Hosts that have not answered and are named, at most."""


class RuleCounterDocument(SecurityRuleDocument):
    """A rule with what it has permitted, on the hosts that have answered, since each has had the rule."""

    packets: int = Field(description="packets that the rule was the first of its group to permit")
    bytes: int = Field(description="bytes of these packets, with their headers")


class SecurityGroupCountersDocument(Document):
    """How much the rules of a security group have permitted."""

    id: str
    rules: list[RuleCounterDocument]
    hosts: int = Field(description="hosts with ports of the group that have answered")
    silent: int = Field(description="hosts that have not answered in time; what they have counted is not in the sums")
    silent_hosts: list[str] = Field(description=f"names of the hosts that have not answered, {MOST_NAMED} at most")
    complete: bool = Field(description="whether all hosts that have ports of the group have answered")


COUNTERS: dict[str, Any] = {
    "id": examples.SECURITY_GROUP_ID,
    "rules": [EXAMPLE["rules"][RULE_ID] | {"packets": 1042, "bytes": 187_560}],
    "hosts": 2,
    "silent": 1,
    "silent_hosts": ["host-3"],
    "complete": False,
}
RESOURCE = of_kind(KIND, SecurityGroupDocument, EXAMPLE, ident=security_groups.ident)

RuleBody = standard.body_of(AddSecurityGroupRule, "SecurityRuleBody")

standard.add_all(router, RESOURCE, "delete")


@router.get(
    f"/{VIEW}/{{ref}}/counters",
    summary="Read how much each rule of a security group has permitted",
    responses=describe.answers(200, SecurityGroupCountersDocument, COUNTERS, *describe.NAMED),
)
async def read_counters(services: ServicesDep, project: ProjectDep, ref: str) -> Response:
    """The hosts that have guests in the group are asked. A count begins anew where a host is restarted, or has had no
    guest of the group for a while."""
    group_id = await security_groups.ident(services, ref, project)
    rules = await security_groups.rules(services, group_id)
    found = await rule_counters.counted(services.store, services.agents, group_id)
    nothing = RuleCount()
    document = {
        "id": group_id,
        "rules": [rule | found.rules.get(rule["id"], nothing).model_dump() for rule in rules],
        "hosts": found.hosts,
        "silent": len(found.silent),
        "silent_hosts": [host["name"] for host in found.silent[:MOST_NAMED]],
        "complete": found.whole and not found.silent,
    }
    return Response(orjson.dumps(document), media_type=JSON, headers={"Cache-Control": "no-store"})


@router.post(
    f"/{VIEW}/{{ref}}/rules",
    openapi_extra=needs("security-group:rule-add"),
    status_code=CREATED,
    summary="Permit connections to, or from, the members of a security group",
    responses=describe.done(CREATED, SecurityGroupDocument, EXAMPLE, 400, 404),
)
async def add_security_rule(
    services: ServicesDep,
    context: RequestContextDep,
    ref: str,
    body: Annotated[RuleBody, Body(examples=[{"protocol": "tcp", "port_min": 443}])],  # type: ignore[valid-type]
) -> Response:
    """Running guests follow within seconds. A rule that permits what another one does already is not added."""
    given: dict[str, Any] = body.model_dump()  # type: ignore[attr-defined]

    async def command(group_id: str) -> SecurityGroupCommand:
        values = await resolve.referred(services, AddSecurityGroupRule, given, context.project)
        return AddSecurityGroupRule(rule_id=derived_id(context.command_id, "rule"), **values)

    return await _send(services, context, ref, command, done=CREATED)


@router.delete(
    f"/{VIEW}/{{ref}}/rules/{{rule_id}}",
    openapi_extra=needs("security-group:rule-remove"),
    summary="Take a permission from a security group",
    responses=describe.done(200, SecurityGroupDocument, EXAMPLE, 404),
)
async def remove_security_rule(services: ServicesDep, context: RequestContextDep, ref: str, rule_id: str) -> Response:
    """Running guests follow within seconds; connections that only this rule permitted end."""

    async def command(group_id: str) -> SecurityGroupCommand:
        return RemoveSecurityGroupRule(rule_id=rule_id)

    return await _send(services, context, ref, command)


@router.delete(
    f"/{VIEW}/{{ref}}",
    summary="Delete a security group that no port is in",
    responses=describe.done(200, SecurityGroupDocument, EXAMPLE, 404),
)
async def delete_security_group(services: ServicesDep, context: RequestContextDep, ref: str) -> Response:
    """The group `default` of a project stays."""

    async def command(group_id: str) -> SecurityGroupCommand:
        where = (Condition("security_groups", "contains", group_id),)
        if (
            group_id != default_id(context.project)
            and (page := await services.store.page("ports", Query(where=where, limit=1))).docs
        ):
            hint = "gs port update --security-group-ids gives a port other groups."
            raise InUse(kind="Security group", id=group_id, user=f"port {page.last_id}", hint=hint)
        return DeleteSecurityGroup()

    return await _send(services, context, ref, command)


async def _send(
    services: Services,
    context: RequestContext,
    ref: str,
    command: Callable[[str], Any],
    done: int = 200,
) -> Response:
    """Send a command to the group with this id or name. Raises NotFound, NameNotUnique, InUse."""

    async def make_command() -> CommandRequest:
        group_id = await security_groups.ident(services, ref, context.project)
        return CommandRequest(Key(KIND.name, group_id), await command(group_id))

    return await answer(services, await command_bus.carry_out(services, context, make_command), VIEW, done=done)
