"""Security groups by their ids or names."""

from collections.abc import Sequence

from api.reads import resolve
from api.services import Services
from domain.security_group import DEFAULT, default_id

VIEW = "security-groups"


async def ident(services: Services, ref: str, project: str) -> str:
    """Return the id of a group by its id or name; the group `default` need not have been used before.

    Raises NotFound, NameNotUnique.
    """
    if ref in (DEFAULT, default_id(project)):
        return default_id(project)
    found: str = (await resolve.alive(services, VIEW, ref, project))["id"]
    return found


async def idents(services: Services, refs: Sequence[str], project: str) -> tuple[str, ...]:
    """Return the ids of groups by their ids or names, each once. Raises NotFound, NameNotUnique."""
    return tuple(dict.fromkeys([await ident(services, ref, project) for ref in refs]))
