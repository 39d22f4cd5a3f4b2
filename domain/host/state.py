"""State of a host, as a fold of its events: its inventory, its claims, and whether it is enabled and healthy."""

from datetime import datetime
from enum import StrEnum
from operator import attrgetter
from typing import Annotated, Any

from pydantic import field_validator

from domain.core.cells import DEFAULT_CELL
from domain.core.fields import PERSONAL_OF_ACTOR, PLAIN
from domain.core.messages import Event, Model
from domain.core.resources import RESOURCES, Resources
from domain.host.messages import (
    HostClaimMade,
    HostClaimReleased,
    HostClaimResized,
    HostDisabled,
    HostEnabled,
    HostHeard,
    HostRegistered,
    HostSuspected,
    HostUplinkChanged,
    HostZoneAssigned,
    Inventory,
)


class HostHealth(StrEnum):
    """Health of a host, by its heartbeats."""

    UP = "up"
    SUSPECT = "suspect"


_AMOUNTS = attrgetter(*RESOURCES)
"""Reads all amounts of a claim at once: a host's are summed up at each change of it."""


class Claim(Resources):
    """Resources that are reserved on the host for one holder."""

    instance_id: str
    """Id of the instance, or of whatever else holds the claim."""
    holder_kind: str = "instance"
    project: str
    number: int = 0
    """Number of the placement in its cell; 0 where it was not counted."""


class Host(Model):
    """A machine that instances run on."""

    id: str
    name: Annotated[str, PLAIN]
    zone: str
    cell: str = DEFAULT_CELL
    """The host's cell, which never changes: only one scheduler decides for a host."""
    inventory: Inventory
    endpoint: str = ""
    uplink: str = ""
    """IPv4 address at which the host's guest networks are reached by other hosts."""
    tunnel_key: str = ""
    """WireGuard's public key, by which other hosts encrypt what they send there; empty where nothing is encrypted."""
    partition: int
    epoch: int
    enabled: bool = True
    why_disabled: Annotated[str, PERSONAL_OF_ACTOR] = ""
    health: HostHealth = HostHealth.UP
    enable_at: datetime | None = None
    """When the host is enabled again automatically."""
    claims: dict[str, Claim] = {}
    """Claim id -> the resources that it reserves."""
    placed: int = 0
    """Number of the last placement on this host."""
    created: datetime
    updated: datetime

    @field_validator("claims", mode="before")
    @classmethod
    def _of_an_earlier_release(cls, claims: Any) -> Any:
        """Add the holder's id to claims that an earlier release stored under it."""
        if not isinstance(claims, dict):
            return claims
        return {
            ident: {"instance_id": ident, **claim} if isinstance(claim, dict) else claim
            for ident, claim in claims.items()
        }

    @property
    def instances(self) -> int:
        """How many instances have a claim on this host."""
        return sum(claim.holder_kind == "instance" for claim in self.claims.values())

    def used(self) -> dict[str, int]:
        """Return the reserved amount of each resource, by its name."""
        if not self.claims:
            return dict.fromkeys(RESOURCES, 0)
        columns = zip(*map(_AMOUNTS, self.claims.values()), strict=True)
        return dict(zip(RESOURCES, map(sum, columns), strict=True))

    @property
    def due_at(self) -> datetime | None:
        """When the host is to be enabled automatically."""
        return self.enable_at

    @property
    def due_id(self) -> str:
        """Name of the cell, which decides about it; empty where nothing is due."""
        return self.cell if self.enable_at else ""


def evolve(now: Host | None, event: Event, subject_id: str) -> Host:
    """Return the host after this event. Raises TypeError for an event of another kind."""
    if isinstance(event, HostRegistered):
        known = {
            "name": event.name,
            "inventory": event.inventory,
            "endpoint": event.endpoint,
            "partition": event.partition,
            "epoch": event.epoch,
            "updated": event.at,
        }
        if now is None:
            return Host(id=subject_id, zone=event.zone, cell=event.cell, created=event.at, **known)
        return now.but(health=HostHealth.UP, **known)
    if now is None:
        raise TypeError(f"{event.type_name} cannot be the first event of host {subject_id}")
    match event:
        case HostUplinkChanged():
            return now.but(uplink=event.uplink, tunnel_key=event.tunnel_key, updated=event.at)
        case HostEnabled():
            return now.but(enabled=True, why_disabled="", enable_at=None, updated=event.at)
        case HostDisabled():
            return now.but(enabled=False, why_disabled=event.why, enable_at=event.until, updated=event.at)
        case HostZoneAssigned():
            return now.but(zone=event.zone, updated=event.at)
        case HostSuspected():
            return now.but(health=HostHealth.SUSPECT, updated=event.at)
        case HostHeard():
            return now.but(health=HostHealth.UP, updated=event.at)
        case HostClaimMade():
            claim = Claim(
                instance_id=event.instance_id,
                holder_kind=event.holder_kind,
                project=event.project,
                number=event.number,
                **event.amounts(),
            )
            placed = max(now.placed, event.number)
            return now.but(claims={**now.claims, event.claim_id: claim}, placed=placed)
        case HostClaimResized():
            resized = now.claims[event.claim_id].but(**event.amounts())
            return now.but(claims={**now.claims, event.claim_id: resized})
        case HostClaimReleased():
            return now.but(claims={key: claim for key, claim in now.claims.items() if key != event.claim_id})
        case _:
            raise TypeError(f"{event.type_name} is no event of a host")
