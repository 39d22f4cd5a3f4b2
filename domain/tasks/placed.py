"""What an aggregate needs in its state to have a place: a host that the scheduler chose, and resources held there.

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
    """Where it has its place, or is asked for one."""
    zone: str = ""
    """Asked for; empty: whichever."""
    wanted_host: str = ""
    """Id of the one host that will do; empty: whichever."""
    host: HostRef | None = None
    claim: str = ""
    """Under which its resources are held on its host; empty where an earlier release placed it: then, its id."""

    def resources(self) -> Resources:
        """What it needs of a host. To be overridden."""
        raise NotImplementedError

    @property
    def arch(self) -> str:
        """The architecture that its host has to have; empty: whichever. May be overridden."""
        return ""

    def held(self, where: Where) -> tuple[HostRef | None, str]:
        """The host that it has there, and the claim under which its resources are held. May be overridden."""
        return (self.host, self.claim) if where is Where.HERE else (None, "")

    def host_at(self, where: Where) -> HostRef | None:
        """The host that it has there."""
        return self.held(where)[0]

    def placed(self, where: Where, host: HostRef | None, claim: str) -> Self:
        """This with that host, or none. To be overridden by aggregates that can have two."""
        return self.but(host=host, claim=claim) if where is Where.HERE else self

    def renewed(self, host_id: str, epoch: int) -> Self:
        """This, when a host of it has registered anew."""
        if self.host is None or self.host.id != host_id:
            return self
        return self.but(host=self.host.but(epoch=epoch))

    def claims(self) -> dict[str, HostRef]:
        """Claim id -> the host that holds its resources under it, as it knows them."""
        places = [self.held(where) for where in Where]
        return {claim or self.id: host for host, claim in places if host is not None}
