"""The security group `default` of a project, made with the project's first network, so that people find it."""

from api.http.request_context import RequestContext
from api.reads.security_groups import VIEW
from api.services import Services
from api.writes import command_bus
from api.writes.command_bus import CommandRequest
from domain.core.messages import Key, derived_id
from domain.security_group import DEFAULT, KIND, CreateSecurityGroup, default_id


async def ensure_default_group(services: Services, context: RequestContext) -> None:
    """Have the project's group `default` made, where it is not known yet; that somebody else was quicker is no failure.

    Raises what the command bus raises.
    """
    group_id = default_id(context.project)
    if await services.store.get(VIEW, group_id) is None:
        request = CommandRequest(Key(KIND.name, group_id), CreateSecurityGroup(name=DEFAULT))
        await command_bus.send(services, context, [(derived_id(context.command_id, "default-group"), request)])
