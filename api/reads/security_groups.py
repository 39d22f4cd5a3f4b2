"""Security groups by their ids or names."""

from collections.abc import Sequence
from typing import Any

import orjson

from api.reads import resolve
from api.services import Services
from domain.security_group import DEFAULT, default_id, first_rules

VIEW = "security-groups"


async def ident(services: Services, ref: str, project: str) -> str:
    """Return the id of a group by its id or name; the group `default` need not have been used before.

    Raises NotFound, NameNotUnique.
    """
    if ref in (DEFAULT, default_id(project)):
        return default_id(project)
    found: str = (await resolve.alive(services, VIEW, ref, project))["id"]
    return found


async def rules(services: Services, group_id: str) -> list[dict[str, Any]]:
    """Return the rules of a group, as they are shown; of a default group that nobody has used those that it begins
    with. Raises StoreUnavailable."""
    found = await services.store.get(VIEW, group_id)
    if found is None:
        return [rule.model_dump(mode="json") for rule in first_rules(group_id, DEFAULT)]
    return list(orjson.loads(found.doc)["rules"].values())


async def idents(services: Services, refs: Sequence[str], project: str) -> tuple[str, ...]:
    """Return the ids of groups by their ids or names, each once. Raises NotFound, NameNotUnique."""
    return tuple(dict.fromkeys([await ident(services, ref, project) for ref in refs]))
