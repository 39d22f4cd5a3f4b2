"""Demand of a placement: the fields that the request and the resulting event have in common."""

from typing import Protocol


class Demand(Protocol):
    """Requested size and location."""

    @property
    def vcpus(self) -> int:
        """Number of virtual CPUs."""

    @property
    def memory(self) -> int:
        """Memory, in bytes of RAM."""

    @property
    def disk(self) -> int:
        """Local disk space, in bytes."""

    @property
    def arch(self) -> str:
        """Architecture of the host; empty: any."""

    @property
    def zone(self) -> str:
        """Name of the zone; empty: any zone."""

    @property
    def wanted_host(self) -> str:
        """Id of the one host that will do; empty: any."""

    @property
    def avoid(self) -> tuple[str, ...]:
        """Ids of hosts that are excluded."""

    @property
    def among(self) -> tuple[str, ...]:
        """Ids of the hosts of which one will do; none: any."""
