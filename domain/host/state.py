"""A host as a fold: what it has, what is held on it, and whether it is wanted and well."""

from datetime import datetime
from enum import StrEnum

from domain.core.cells import DEFAULT_CELL
from domain.core.messages import Event, Model
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


class Claim(Model):
    """What is held for an instance."""

    project: str
    vcpus: int
    memory: int
    disk: int
    number: int = 0
    """Of the cell's placements; 0 where it was not counted."""


class Host(Model):
    """A host."""

    id: str
    name: str
    zone: str
    cell: str = DEFAULT_CELL
    """For ever: only one scheduler decides for it."""
    inventory: Inventory
    endpoint: str = ""
    partition: int
    epoch: int
    enabled: bool = True
    why_disabled: str = ""
    health: Health = Health.UP
    claims: dict[str, Claim] = {}
    placed: int = 0
    """Number of the last placement here."""
    created: datetime
    updated: datetime

    def used(self) -> dict[str, int]:
        """How much of `vcpus`, `memory` and `disk` is held."""
        vcpus = memory = disk = 0
        for claim in self.claims.values():
            vcpus += claim.vcpus
            memory += claim.memory
            disk += claim.disk
        return {"vcpus": vcpus, "memory": memory, "disk": disk}


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
            return now.but(enabled=True, why_disabled="", updated=event.at)
        case HostDisabled():
            return now.but(enabled=False, why_disabled=event.why, updated=event.at)
        case HostZoneAssigned():
            return now.but(zone=event.zone, updated=event.at)
        case HostSuspected():
            return now.but(health=Health.SUSPECT, updated=event.at)
        case HostHeard():
            return now.but(health=Health.UP, updated=event.at)
        case HostClaimMade():
            claim = Claim(
                project=event.project,
                vcpus=event.vcpus,
                memory=event.memory,
                disk=event.disk,
                number=event.number,
            )
            placed = max(now.placed, event.number)
            return now.but(claims={**now.claims, event.instance_id: claim}, placed=placed)
        case HostClaimReleased():
            return now.but(claims={key: claim for key, claim in now.claims.items() if key != event.instance_id})
        case _:
            raise TypeError(f"{event.type_name} is no event of a host")
