"""A clone: from the request to the command that makes new instances of an instance's root disk.

The request is a boot's, less what the other instance says: what it is made of. What it leaves out and a boot needs, the
clone has as the instance has it: flavor, networks (with addresses of its own), size of the root disk.
"""

from collections.abc import Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import Field, ValidationError, create_model

from api.http.request_context import RequestContext
from api.reads import resolve, security_groups
from api.reads.queries import Strict
from api.services import Services
from api.writes import boot, command_bus
from api.writes.boot import Birth, BootBody
from api.writes.boot_root import GIB
from domain.core.cells import in_turn
from domain.core.errors import NotSupportedYet
from domain.core.names import LONGEST
from domain.guest_spec import FlavorRef, ImageRef
from domain.instance.actions.storage.clone import Clone, CloneInstance
from domain.instance.spec import InstanceSpec

OF_BOOT = (
    "name",
    "description",
    "network",
    "networks",
    "port",
    "ports",
    "zone",
    "host",
    "count",
    "key_name",
    "metadata",
    "password",
    "user_data_encoding",
    "user_data",
    "config_drive",
    "volume_size",
    "security_group_ids",
    "group",
    "is_trusted",
)
"""Fields of a boot that a clone has as well, with the same meaning."""


class _Own(Strict):
    flavor: str | None = Field(
        None, min_length=1, max_length=255, description="id or name; the flavor of the instance unless given"
    )
    instance_snapshot_id: str | None = Field(None, max_length=255, description="not supported yet")


_FIELDS: dict[str, Any] = {
    name: (BootBody.model_fields[name].annotation, BootBody.model_fields[name]) for name in OF_BOOT
}
CloneBody: Any = create_model(
    "CloneBody",
    __base__=_Own,
    __doc__="New instances with a copy of an instance's root disk.",
    **_FIELDS,
)


def as_boot(body: Any, source: dict[str, Any]) -> BootBody:
    """Return the request as a boot of the same kind. Raises NotSupportedYet, RequestValidationError."""
    if body.instance_snapshot_id:
        raise NotSupportedYet(field="instance_snapshot_id", reason="there are no snapshots of instances")
    given = {name: getattr(body, name) for name in OF_BOOT if name in body.model_fields_set}
    if not {"network", "networks", "port", "ports"} & given.keys():
        given["networks"] = [nic["network_id"] for nic in source["nics"]]
    given.setdefault("name", f"{source['name'][: LONGEST - len('-clone-100')]}-clone")
    flavor = body.flavor or source["flavor"]["name"]
    try:
        return BootBody.model_validate({**given, "flavor": flavor, "image": source["image"]["id"] or "image"})
    except ValidationError as wrong:
        found = [{**each, "loc": ("body", *each["loc"])} for each in wrong.errors()]
        raise RequestValidationError(found) from wrong


def births(context: RequestContext, asked: BootBody) -> list[Birth]:
    """Return the clones of a request. A repeated request has the same ones."""
    return boot.births(asked, context, [command_bus.nth_id(context, number) for number in range(1, asked.count + 1)])


async def command(
    services: Services,
    context: RequestContext,
    source: dict[str, Any],
    body: Any,
    asked: BootBody,
    born: Sequence[Birth],
) -> CloneInstance:
    """Return the command for the instance. Raises a Refusal if it is not possible."""
    boot.refuse_what_is_not_yet(asked)
    place = await boot.place_of(services, context, asked)
    keypair = await boot.keypair_of(services, context, asked)
    flavor = source["flavor"]
    if body.flavor:
        flavor = await resolve.alive(services, "flavors", body.flavor, context.project)
    spec = InstanceSpec(
        name=born[0].name,
        hostname=born[0].hostname,
        description=asked.description,
        metadata=asked.metadata,
        flavor=FlavorRef.model_validate(flavor),
        image=ImageRef.model_validate(source["image"]),
        disk=asked.volume_size * GIB if asked.volume_size else 0,
        zone=place.zone,
        wanted_host=place.host,
        cells=place.cells or in_turn(services.admission.cells, context.command_id),
        key_name=keypair["name"],
        public_key=keypair["public_key"],
        config_drive=asked.config_drive,
        nics=await boot.nics_of(services, context, asked),
    )
    return CloneInstance(
        spec=spec,
        security_groups=await security_groups.idents(services, asked.security_group_ids, context.project),
        clones=tuple(
            Clone(
                id=each.instance_id,
                name=each.name,
                hostname=each.hostname,
                password_ref=each.password_ref,
                user_data_ref=each.user_data_ref if asked.user_data_bytes else "",
            )
            for each in born
        ),
    )
