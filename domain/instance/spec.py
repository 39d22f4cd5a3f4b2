"""Specification of an instance: the same fields in the command that boots it, in the event, and in its state."""

from typing import Annotated

from pydantic import Field

from domain.core.fields import PERSONAL
from domain.core.messages import Model
from domain.disk_source import RootVolume
from domain.guest_spec import FlavorRef, ImageRef, Nic

HOSTNAME = r"^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$"
"""A label of a host name, by RFC 1123."""


class InstanceSpec(Model):
    """An instance as requested, with flavor, image and key as they were then."""

    name: Annotated[str, PERSONAL]
    hostname: Annotated[str, PERSONAL]
    description: Annotated[str, PERSONAL] = ""
    metadata: Annotated[dict[str, str], PERSONAL] = Field(default_factory=dict)
    flavor: FlavorRef
    image: ImageRef
    disk: int
    """Size of the local root disk, in bytes; 0 where it boots from a volume."""
    zone: str = ""
    wanted_host: str = ""
    cells: tuple[str, ...] = ()
    """Cells to be placed in, in order of preference; empty: the default cell."""
    key_name: Annotated[str, PERSONAL] = ""
    public_key: Annotated[str, PERSONAL] = ""
    config_drive: bool = True
    only_define: bool = False
    password_ref: str = ""
    user_data_ref: str = ""
    nics: tuple[Nic, ...] = ()
    launch_index: int = 0
    """Place of the instance among those of one boot, from 0."""
    root: RootVolume | None = None
    """The volume that it boots from; None: a local root disk."""
