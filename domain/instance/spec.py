"""What is asked for when an instance is booted: the same in the command, in the fact, and in the instance."""

from typing import Annotated

from pydantic import Field

from domain.core.fields import PERSONAL
from domain.core.messages import Model
from domain.guest_spec import FlavorRef, ImageRef, Nic


class InstanceSpec(Model):
    """An instance as it was asked for, with flavor, image and key as they were then."""

    name: Annotated[str, PERSONAL]
    hostname: Annotated[str, PERSONAL]
    description: Annotated[str, PERSONAL] = ""
    metadata: Annotated[dict[str, str], PERSONAL] = Field(default_factory=dict)
    flavor: FlavorRef
    image: ImageRef
    disk: int
    """Bytes of the root disk."""
    zone: str = ""
    wanted_host: str = ""
    cells: tuple[str, ...] = ()
    """Where to ask for a place, in this order; none are named: in the default cell."""
    key_name: Annotated[str, PERSONAL] = ""
    public_key: Annotated[str, PERSONAL] = ""
    config_drive: bool = True
    only_define: bool = False
    password_ref: str = ""
    user_data_ref: str = ""
    nics: tuple[Nic, ...] = ()
