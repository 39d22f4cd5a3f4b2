"""What is asked for when an instance is booted: the same in the command, in the fact, and in the instance."""

from pydantic import Field

from domain.core.messages import Model
from domain.guest_spec import FlavorRef, ImageRef, Nic

HOSTNAME = r"^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$"
"""A label of a host name, by RFC 1123."""


class InstanceSpec(Model):
    """An instance as it was asked for, with flavor, image and key as they were then."""

    name: str
    hostname: str
    description: str = ""
    metadata: dict[str, str] = Field(default_factory=dict)
    flavor: FlavorRef
    image: ImageRef
    disk: int
    """Bytes of the root disk."""
    zone: str = ""
    wanted_host: str = ""
    cells: tuple[str, ...] = ()
    """Where to ask for a place, in this order; none are named: in the default cell."""
    key_name: str = ""
    public_key: str = ""
    config_drive: bool = True
    only_define: bool = False
    password_ref: str = ""
    user_data_ref: str = ""
    nics: tuple[Nic, ...] = ()
