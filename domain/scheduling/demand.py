"""What a placement asks for, wherever it stands: in the request itself, or in the fact that came of it."""

from typing import Protocol


class Demand(Protocol):
    """Of what size, and where it may be."""

    @property
    def vcpus(self) -> int:
        """Virtual CPUs."""

    @property
    def memory(self) -> int:
        """Bytes."""

    @property
    def disk(self) -> int:
        """Bytes."""

    @property
    def arch(self) -> str:
        """Of the host; empty: whichever."""

    @property
    def zone(self) -> str:
        """Empty: whichever."""

    @property
    def wanted_host(self) -> str:
        """Id of the one host that will do; empty: whichever."""

    @property
    def avoid(self) -> tuple[str, ...]:
        """Ids of hosts that will not do."""
