"""State of an aggregate that has a place: a host that the scheduler chose, and resources reserved on it.

Why apart from tasks: whoever holds something of a host is alike in this, an instance as a volume, so placing, giving
back and the check that claims and their holders agree know no kind.
"""

from typing import Self

from domain.core.cells import DEFAULT_CELL
from domain.core.resources import Resources
from domain.guest_spec import HostRef
from domain.tasks.job import Where
from domain.tasks.subject import TaskSubject


class PlacedSubject(TaskSubject):
    """The state of an aggregate that has a place on a host."""

    project: str
    cell: str = DEFAULT_CELL
    """Cell that the aggregate has its place in, or is placed in."""
    zone: str = ""
    """Requested zone; empty: any."""
    wanted_host: str = ""
    """Id of the one host that will do; empty: any."""
    host: HostRef | None = None
    claim: str = ""
    """Id of the claim that reserves its resources on its host; empty where an earlier release placed it: then the claim
    has the aggregate's id."""

    def resources(self, where: Where = Where.HERE) -> Resources:
        """Return the resources that the aggregate needs of the host there. To be overridden."""
        raise NotImplementedError

    def reserved(self) -> dict[str, Resources]:
        """Claim id -> the resources that it reserves, as the aggregate knows it."""
        places = [(self.held(where), where) for where in Where]
        return {claim or self.id: self.resources(where) for (host, claim), where in places if host is not None}

    @property
    def arch(self) -> str:
        """Architecture that the host must have; empty: any. May be overridden."""
        return ""

    @property
    def among(self) -> tuple[str, ...]:
        """Ids of the hosts of which one will do; none: any. May be overridden."""
        return ()

    def held(self, where: Where) -> tuple[HostRef | None, str]:
        """Return the host there, and the id of the claim that reserves resources on it. May be overridden."""
        return (self.host, self.claim) if where is Where.HERE else (None, "")

    def host_at(self, where: Where) -> HostRef | None:
        """Return the host there, or None."""
        return self.held(where)[0]

    def placed(self, where: Where, host: HostRef | None, claim: str) -> Self:
        """Return the aggregate with that host, or without one. To be overridden by aggregates that can have two."""
        return self.but(host=host, claim=claim) if where is Where.HERE else self

    def renewed(self, host_id: str, epoch: int) -> Self:
        """Return the aggregate with the new epoch of a host that has registered again."""
        if self.host is None or self.host.id != host_id:
            return self
        return self.but(host=self.host.but(epoch=epoch))

    def claims(self) -> dict[str, HostRef]:
        """Claim id -> the host on which it reserves resources, as the aggregate knows it."""
        places = [self.held(where) for where in Where]
        return {claim or self.id: host for host, claim in places if host is not None}
