"""How durable the log is: how many replicas its topics have, and how many brokers may therefore be lost.

A record is acknowledged when every replica in sync has it, and taken only where as many as `min.insync.replicas` are.
So as many replicas less one may be lost at any moment without losing a record, and the replicas beyond them may be away
while the log goes on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self


class Replication(NamedTuple):
    """The fewest replicas that a partition of a topic has, how many must be in sync, and the fewest that are."""

    replicas: int
    min_insync: int
    in_sync: int


@dataclass(frozen=True)
class Durability:
    """The durability of the log as a whole, which is that of its weakest topic."""

    brokers: int
    """Brokers that the cluster has now."""
    replicas: int
    min_insync: int
    in_sync: int
    """Replicas that are in sync now, of the partition that has the fewest."""
    may_be_away: int
    """Further brokers that may be away while the log takes records; below 0 it takes none now."""
    may_be_lost: int
    """Further brokers that may be lost with their disks at any moment, and no record with them."""

    @classmethod
    def of(cls, topics: Mapping[str, Replication], brokers: int) -> Self:
        """Return the durability of a log with these topics, of which there is at least one."""
        found = list(topics.values())
        return cls(
            brokers=brokers,
            replicas=min(each.replicas for each in found),
            min_insync=min(each.min_insync for each in found),
            in_sync=min(each.in_sync for each in found),
            may_be_away=min(each.in_sync - each.min_insync for each in found),
            may_be_lost=max(0, min(min(each.in_sync, each.min_insync) - 1 for each in found)),
        )

    def __str__(self) -> str:
        has = f"{_counted(self.replicas, 'replica')} on {_counted(self.brokers, 'broker')}"
        if self.in_sync < self.replicas:
            has += f" ({self.in_sync} in sync now)"
        if self.may_be_away < 0:
            return f"{has}, {self.min_insync} or more in sync are asked for: it takes no records"
        if self.replicas == 1:
            return f"{has}: a record is lost with the disk of its broker, and none is taken while that broker is away"
        return (
            f"{has}, {self.min_insync} or more in sync: {_counted(self.may_be_away, 'broker')} may be away while it "
            f"takes records, and {_counted(self.may_be_lost, 'broker')} be lost at any moment without losing one"
        )


ONE_REPLICA = Durability.of({"any": Replication(1, 1, 1)}, brokers=1)


def _counted(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'s' if number > 1 else ''}"
