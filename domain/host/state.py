"""A host as a fold: what it has, what is held on it, and whether it is wanted and well."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import field_validator

from domain.core.cells import DEFAULT_CELL
from domain.core.fields import PERSONAL_OF_ACTOR, PLAIN
from domain.core.messages import Event, Model
from domain.core.resources import RESOURCES, Resources
from domain.host.messages import (
    HostClaimMade,
    HostClaimReleased,
    HostDisabled,
    HostEnabled,
    HostHeard,
    HostRegistered,
    HostSuspected,
    HostZoneAssigned,
    Inventory,
)


class Health(StrEnum):
    """What is known of a host."""

    UP = "up"
    SUSPECT = "suspect"


class Claim(Resources):
    """What is held for something that has its place on the host."""

    instance_id: str
    """Of whatever it is held for."""
    holder_kind: str = "instance"
    project: str
    number: int = 0
    """Of the cell's placements; 0 where it was not counted."""


class Host(Model):
    """A host."""

    id: str
    name: Annotated[str, PLAIN]
    zone: str
    cell: str = DEFAULT_CELL
    """For ever: only one scheduler decides for it."""
    inventory: Inventory
    endpoint: str = ""
    partition: int
    epoch: int
    enabled: bool = True
    why_disabled: Annotated[str, PERSONAL_OF_ACTOR] = ""
    health: Health = Health.UP
    enable_at: datetime | None = None
    """When it is enabled again by itself."""
    claims: dict[str, Claim] = {}
    """Claim id -> what is held under it."""
    placed: int = 0
    """Number of the last placement here."""
    created: datetime
    updated: datetime

    @field_validator("claims", mode="before")
    @classmethod
    def _of_an_earlier_release(cls, claims: Any) -> Any:
        """Claims that an earlier release stored have the instance's id and do not repeat it."""
        if not isinstance(claims, dict):
            return claims
        return {
            ident: {"instance_id": ident, **claim} if isinstance(claim, dict) else claim
            for ident, claim in claims.items()
        }

    @property
    def instances(self) -> int:
        """How many instances have a claim here."""
        return sum(claim.holder_kind == "instance" for claim in self.claims.values())

    def used(self) -> dict[str, int]:
        """How much of each resource is held."""
        used = dict.fromkeys(RESOURCES, 0)
        for claim in self.claims.values():
            for name in RESOURCES:
                used[name] += getattr(claim, name)
        return used

    @property
    def due_at(self) -> datetime | None:
        """When it is to be enabled by itself."""
        return self.enable_at

    @property
    def due_id(self) -> str:
        """The cell, which decides about it; empty where nothing is due."""
        return self.cell if self.enable_at else ""


def evolve(now: Host | None, event: Event, subject_id: str) -> Host:
    """The host after this event. Raises TypeError for an event that is none of a host's."""
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
        return now.but(health=Health.UP, **known)
    if now is None:
        raise TypeError(f"{event.type_name} cannot be the first event of host {subject_id}")
    match event:
        case HostEnabled():
            return now.but(enabled=True, why_disabled="", enable_at=None, updated=event.at)
        case HostDisabled():
            return now.but(enabled=False, why_disabled=event.why, enable_at=event.until, updated=event.at)
        case HostZoneAssigned():
            return now.but(zone=event.zone, updated=event.at)
        case HostSuspected():
            return now.but(health=Health.SUSPECT, updated=event.at)
        case HostHeard():
            return now.but(health=Health.UP, updated=event.at)
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
        case HostClaimReleased():
            return now.but(claims={key: claim for key, claim in now.claims.items() if key != event.claim_id})
        case _:
            raise TypeError(f"{event.type_name} is no event of a host")
