"""A boot: from the request to the commands that carry it out.

In this order: the form is checked (BootBody), then the names in it are looked up (zone, host, flavor, the root disk's
source, networks, ports, keypair), then the password is made, and secrets are stored before a command refers to them.
The command has copies of what was looked up, so that a later change of a flavor changes no instance.
"""

import base64
import re
import secrets as random
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from api.http.names import Name, NameRef
from api.http.patterns import ID
from api.http.refusals import NetworkNeeded
from api.http.request_context import RequestContext
from api.reads import resolve, security_groups
from api.reads.queries import Strict
from api.services import Services
from api.writes.boot_root import root_of
from api.writes.command_bus import CommandRequest
from api.writes.told_once import tell, told
from domain.core.cells import in_turn
from domain.core.errors import AlreadyExists, Invalid, NotSupportedYet, PortBusy
from domain.core.messages import Key, derived_id
from domain.core.names import LONGEST
from domain.guest_spec import FlavorRef, Nic
from domain.instance.actions.lifecycle.boot import BootInstance
from domain.instance.actions.network.interfaces import MOST_INTERFACES
from domain.instance.spec import HOSTNAME
from domain.security_group import MOST_GROUPS
from projections.views.view import Condition, Query

MOST_INSTANCES = 100
MOST_METADATA = 128
LONGEST_METADATA = 255
LONGEST_USER_DATA = 64 * 1024
LONGEST_LABEL = 63
"""Greatest length of a label of a host name, by RFC 1123."""
PASSWORD_LENGTH = 20

NOT_YET = {
    "dedicated_to": "there are no dedicated clouds",
    "group": "there are no server groups",
    "is_pgpu_install": "guests get no physical GPUs",
    "pgpu_driver_kits": "guests get no physical GPUs",
    "is_trusted": "there is no trusted boot",
    "pci_types": "virtual functions (VF) are parts of network cards with SR-IOV, and no host has such a card: "
    "each interface is a virtio one on a bridge",
    "pf_names": "physical functions (PF) are whole network cards with SR-IOV, and no host has such a card: "
    "each interface is a virtio one on a bridge",
}


def checked_metadata(metadata: dict[str, str] | None) -> dict[str, str] | None:
    """Return the same metadata. Raises ValueError, which names the limit that is exceeded."""
    if metadata is None:
        return None
    if len(metadata) > MOST_METADATA:
        raise ValueError(f"{len(metadata)} entries are too many: {MOST_METADATA} are allowed")
    for key, value in metadata.items():
        if not 1 <= len(key) <= LONGEST_METADATA:
            raise ValueError(f"a key has {len(key)} characters: 1 to {LONGEST_METADATA} are allowed")
        if len(value) > LONGEST_METADATA:
            raise ValueError(
                f"the value of {key!r} has {len(value)} characters: at most {LONGEST_METADATA} are allowed"
            )
    return metadata


def decoded(text: str, encoding: str) -> bytes:
    """Return the bytes that a text stands for. Raises ValueError, which does not repeat the text."""
    if encoding == "text":
        return text.encode()
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (ValueError, UnicodeError) as wrong:
        raise ValueError("it is not base64: A-Z, a-z, 0-9, + and /, with = at the end (RFC 4648)") from wrong


class BootBody(Strict):
    """An instance, or several, that are to be booted."""

    name: Name | None = Field(None, description="name of the instance; the hostname unless given")
    hostname: str | None = Field(
        None,
        min_length=1,
        max_length=LONGEST_LABEL,
        description="host name of the guest; made from the name unless given",
    )
    description: str = Field("", max_length=1024)
    flavor: str = Field(min_length=1, max_length=255, description="id or name")
    image: str | None = Field(
        None, min_length=1, max_length=255, description="id or name of the image that the root disk is made of"
    )
    network: str | None = Field(None, min_length=1, max_length=255, description="id or name of a network")
    networks: list[str] = Field(
        [], max_length=MOST_INTERFACES, description="ids or names of networks, for one network interface each"
    )
    port: str | None = Field(None, min_length=1, max_length=255, description="id or name of a free port")
    ports: list[str] = Field([], max_length=MOST_INTERFACES, description="ids or names of free ports")
    zone: NameRef | None = Field(None, min_length=1, max_length=255)
    host: str | None = Field(
        None,
        min_length=1,
        max_length=255,
        description="id or name of the only host on which the instance may be placed",
    )
    count: int = Field(1, ge=1, le=MOST_INSTANCES, description="number of instances; names get the suffixes -1, -2, …")
    instance_uuid: str | None = Field(None, pattern=ID, description="id that the instance is to have")
    key_name: NameRef | None = Field(None, min_length=1, max_length=255, description="name of a keypair of the project")
    metadata: dict[str, str] = Field({}, description="at most 128 entries, each key 1 to 255 characters, value to 255")
    password: SecretStr | None = Field(None, description="password of the guest's administrator; made unless given")
    user_data_encoding: Literal["text", "base64"] = Field(
        "text", description="how user_data is written; base64 for what is no text, such as gzip"
    )
    user_data: SecretStr | None = Field(None, description="at most 64 KiB for the guest's first start")
    config_drive: bool = True
    only_define: bool = Field(False, description="define the instance without starting it")
    volume_size: int | None = Field(
        None,
        ge=1,
        le=65536,
        description="size of the root disk in GiB; the flavor's, else that of its source, unless given",
    )
    volume: str | None = Field(
        None,
        min_length=1,
        max_length=255,
        description="id or name of a volume that was made of an image, to boot from",
    )
    snapshot: str | None = Field(
        None,
        min_length=1,
        max_length=255,
        description="id or name of a volume's snapshot, of which a volume to boot from is made",
    )
    source_type: str | None = Field(
        None,
        max_length=64,
        description="source of the root disk: image, volume, snapshot; by what is named unless given",
    )
    dest_type: str | None = Field(
        None,
        max_length=64,
        description="place of the root disk: local, or volume, which makes one of the image; unless given, that of the "
        "volume that is the source, else local",
    )
    pool: str | None = Field(
        None,
        min_length=1,
        max_length=255,
        description="id or name of the pool for a root volume that is made; none: the host's own disk",
    )
    delete_on_termination: bool = Field(
        False, description="delete the root volume with the instance, when that is gone; else it keeps its data"
    )
    security_group_ids: list[str] = Field(
        [],
        max_length=MOST_GROUPS,
        description="ids or names of the security groups of ports that are made; none: the project's default",
    )
    dedicated_to: str | None = Field(None, max_length=255, description="not supported yet")
    group: list[str] | str | None = Field(None, max_length=255, description="not supported yet")
    is_pgpu_install: bool = Field(False, description="not supported yet")
    is_trusted: bool = Field(False, description="not supported yet")
    pci_types: list[Annotated[str, Field(max_length=255)]] = Field(
        [], max_length=MOST_INTERFACES, description="not supported yet: there is no host with SR-IOV"
    )
    pf_names: list[Annotated[str, Field(max_length=255)]] = Field(
        [], max_length=MOST_INTERFACES, description="not supported yet: there is no host with SR-IOV"
    )
    pgpu_driver_kits: list[str] | str | None = Field(None, max_length=255, description="not supported yet")

    @field_validator("count")
    @classmethod
    def _leaves_room(cls, value: int, info: ValidationInfo) -> int:
        size = len(f"{info.data.get('name') or ''}{suffix_of(value, value)}")
        if size > LONGEST:
            raise ValueError(f"with the number at its end the name has {size} characters, and {LONGEST} are allowed")
        return value

    @field_validator("hostname")
    @classmethod
    def _is_hostname(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(HOSTNAME, value):
            raise ValueError("letters, digits and inner hyphens are allowed, at most 63 (RFC 1123)")
        return value

    @field_validator("metadata")
    @classmethod
    def _limits(cls, value: dict[str, str]) -> dict[str, str]:
        return checked_metadata(value) or {}

    @field_validator("password")
    @classmethod
    def _is_password(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"[^\x00-\x1f\x7f]{1,128}", value.get_secret_value()):
            raise ValueError("1 to 128 characters are allowed, and no control characters")
        return value

    @field_validator("user_data")
    @classmethod
    def _fits(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        encoding = info.data.get("user_data_encoding", "text")
        if value is not None and (size := len(decoded(value.get_secret_value(), encoding))) > LONGEST_USER_DATA:
            raise ValueError(f"{size} bytes are too many: {LONGEST_USER_DATA} are allowed")
        return value

    @model_validator(mode="after")
    def _one_of_each(self) -> "BootBody":
        if self.count > 1 and self.instance_uuid:
            raise ValueError("instance_uuid is the id of one instance: count must be 1")
        if self.count > 1 and (self.port or self.ports):
            raise ValueError("a port is for one instance: count must be 1")
        if len(self.all_networks) + len(self.all_ports) > MOST_INTERFACES:
            raise ValueError(f"an instance may have {MOST_INTERFACES} network interfaces")
        return self

    @property
    def user_data_bytes(self) -> bytes:
        """The user data as the guest gets it; empty if there is none."""
        return decoded(self.user_data.get_secret_value(), self.user_data_encoding) if self.user_data else b""

    @property
    def all_networks(self) -> list[str]:
        """The networks of `network` and `networks` together."""
        return [*([self.network] if self.network else []), *self.networks]

    @property
    def all_ports(self) -> list[str]:
        """The ports of `port` and `ports` together."""
        return [*([self.port] if self.port else []), *self.ports]


@dataclass(frozen=True)
class Birth:
    """The ids and the names of an instance that is to be booted."""

    command_id: str
    instance_id: str
    name: str
    hostname: str
    index: int
    """Place among the instances of the boot, from 0."""

    @property
    def password_ref(self) -> str:
        """Reference of its password; derived from the command, so that no other boot can change it."""
        return derived_id(self.command_id, "password")

    @property
    def user_data_ref(self) -> str:
        """Reference under which the user data of the instance is stored."""
        return derived_id(self.command_id, "user-data")

    @property
    def volume_id(self) -> str:
        """Id of the volume that is made for the instance to boot from, where one is."""
        return derived_id(self.command_id, "volume")


def suffix_of(number: int, count: int) -> str:
    """Return what the name of one of several instances ends with; nothing for a single one."""
    return f"-{number}" if count > 1 else ""


def births(body: BootBody, context: RequestContext, command_ids: Sequence[str]) -> list[Birth]:
    """Return the instances of a boot. A repeated request has the same instances."""
    found = []
    for number, command_id in enumerate(command_ids, 1):
        own = body.instance_uuid.lower() if body.instance_uuid else None
        instance_id = own or derived_id(command_id, "instance")
        suffix = suffix_of(number, len(command_ids))
        hostname = _label(body.hostname or body.name or "", suffix) or f"i-{instance_id[:8]}"
        name = f"{body.name}{suffix}" if body.name else hostname
        found.append(Birth(command_id, instance_id, name, hostname, number - 1))
    return found


def _label(name: str, suffix: str) -> str:
    """Return a host name by RFC 1123; empty if no character of the name is allowed in one."""
    label = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return label[: LONGEST_LABEL - len(suffix)].rstrip("-") + suffix if label else ""


def new_password() -> str:
    """Return a new password of 119 bits, without characters that differ between keyboard layouts."""
    alphabet = string.ascii_letters + string.digits
    return "".join(random.choice(alphabet) for _ in range(PASSWORD_LENGTH))


async def commands(
    services: Services, context: RequestContext, body: BootBody, born: Sequence[Birth]
) -> list[tuple[str, CommandRequest]]:
    """Return a command for each instance. Raises a Refusal if the boot is not possible."""
    refuse_what_is_not_yet(body)
    if body.instance_uuid and await services.store.get("instances", born[0].instance_id):
        raise AlreadyExists(kind="instance", id=born[0].instance_id)
    place = await place_of(services, context, body)
    flavor = FlavorRef.model_validate(await resolve.alive(services, "flavors", body.flavor, context.project))
    root = await root_of(services, body, flavor, context.project)
    if root.host:
        if place.host not in ("", root.host):
            raise Invalid(field="host", value=body.host, allowed=f"what it boots from is on host {root.host}")
        place = WantedPlace(place.zone, root.host, tuple(root.cells))
    nics = await nics_of(services, context, body)
    groups = await security_groups.idents(services, body.security_group_ids, context.project)
    keypair = await keypair_of(services, context, body)
    return [
        (
            birth.command_id,
            CommandRequest(
                Key("instance", birth.instance_id),
                BootInstance(
                    name=birth.name,
                    hostname=birth.hostname,
                    description=body.description,
                    metadata=body.metadata,
                    flavor=flavor,
                    image=root.image,
                    disk=root.disk,
                    root=root.of(birth.volume_id, birth.name),
                    zone=place.zone,
                    wanted_host=place.host,
                    cells=place.cells or in_turn(services.admission.cells, birth.command_id),
                    key_name=keypair["name"],
                    public_key=keypair["public_key"],
                    config_drive=body.config_drive,
                    launch_index=birth.index,
                    only_define=body.only_define,
                    password_ref=birth.password_ref,
                    user_data_ref=birth.user_data_ref if body.user_data_bytes else "",
                    nics=nics,
                    security_groups=groups,
                ),
            ),
        )
        for birth in born
    ]


@dataclass(frozen=True)
class WantedPlace:
    """Where an instance may be placed: the name of a zone, the id of a host, cells; empty where any will do."""

    zone: str = ""
    host: str = ""
    cells: tuple[str, ...] = ()


async def place_of(services: Services, context: RequestContext, body: BootBody) -> WantedPlace:
    """Return where the request wants its instances. Raises NotFound, NameNotUnique."""
    place = WantedPlace()
    if body.zone is not None:
        zone = await resolve.alive(services, "zones", body.zone, context.project)
        place = WantedPlace(zone=zone["name"], cells=(resolve.cell(zone),))
    if body.host:
        found = await resolve.found(services, "hosts", body.host, context.project)
        place = WantedPlace(place.zone, found.id, (resolve.cell(orjson.loads(found.doc)),))
    return place


async def keypair_of(services: Services, context: RequestContext, body: BootBody) -> dict[str, Any]:
    """Return the keypair that the request names, or one without name and key. Raises NotFound."""
    if body.key_name is None:
        return {"name": "", "public_key": ""}
    return await resolve.alive(services, "keypairs", body.key_name, context.project)


async def keep_secrets(
    services: Services, context: RequestContext, body: BootBody, born: Sequence[Birth]
) -> str | None:
    """Store the secrets of the guests. Returns the password if it was made here.

    Raises SecretsUnavailable.
    """
    password = body.password.get_secret_value() if body.password else await tell(services, context, new_password())
    kept = [await services.secrets.put(birth.password_ref, birth.instance_id, password) for birth in born]
    if user_data := body.user_data_bytes:
        for birth in born:
            await services.secrets.put_bytes(birth.user_data_ref, birth.instance_id, user_data)
    return None if body.password else kept[0] or password


async def told_password(services: Services, context: RequestContext, body: BootBody) -> str | None:
    """Return the password that was made for this request, for the day in which it may be repeated."""
    return None if body.password else await told(services, context) or None


def refuse_what_is_not_yet(body: BootBody) -> None:
    """Refuse fields that are not supported yet, instead of ignoring them. Raises NotSupportedYet."""
    for name, reason in NOT_YET.items():
        if getattr(body, name):
            raise NotSupportedYet(field=name, reason=reason)


async def nics_of(services: Services, context: RequestContext, body: BootBody) -> tuple[Nic, ...]:
    """Return the network interfaces that the request wants; unless it says, one on the only network.

    Raises NotFound, NameNotUnique, Invalid, PortBusy, NetworkNeeded.
    """
    networks = [await resolve.alive(services, "networks", each, context.project) for each in body.all_networks]
    ports = [await resolve.alive(services, "ports", each, context.project) for each in body.all_ports]
    if len({port["id"] for port in ports}) < len(ports):
        raise Invalid(field="ports", value="the same port twice", allowed="a port is for one network interface")
    macs = [port["mac"] for port in ports]
    if twice := next((mac for at, mac in enumerate(macs) if mac in macs[:at]), ""):
        raise Invalid(field="ports", value=twice, allowed="each interface of an instance has a MAC address of its own")
    for port in ports:
        if port["instance_id"]:
            raise PortBusy(id=port["id"], device=port["instance_id"])
    if not networks and not ports:
        networks = await _only_network(services, context)
    return (
        *(Nic(network_id=network["id"], network_name=network["name"]) for network in networks),
        *(
            Nic(
                network_id=port["network_id"],
                network_name=port["network_name"],
                port_id=port["id"],
                keep_port=True,
            )
            for port in ports
        ),
    )


async def _only_network(services: Services, context: RequestContext) -> list[dict[str, Any]]:
    """Return the network for a boot that names none: the only one of the project, otherwise the only one of all; none
    if there is no network. Raises NetworkNeeded."""
    alive = Condition("deleted", "=", False)
    for where in ((alive, Condition("project", "=", context.project)), (alive,)):
        found = await services.store.page("networks", Query(where=where, limit=5))
        docs = [orjson.loads(doc) for doc in found.docs]
        if len(docs) > 1:
            raise NetworkNeeded(names=", ".join(sorted(doc["name"] for doc in docs)))
        if docs:
            return docs
    return []
