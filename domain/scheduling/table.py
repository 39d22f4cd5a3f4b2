"""The cell's hosts as columns, so that a filter is one comparison over all of them and a weigher one vector.

Derived from the host aggregates and nothing else: each host's row is written anew when its state changes. So a choice
follows from what is on the log, whoever makes it and however often it was started since: nothing is remembered here
that a fold of the log does not give again.
"""

from collections import Counter

import numpy as np
import numpy.typing as npt

from domain.core.messages import Model
from domain.core.resources import RESOURCES
from domain.host.state import Host, HostHealth

Mask = npt.NDArray[np.bool_]
Vector = npt.NDArray[np.float64]

FIRST_ROWS = 64
RECENT = 256
"""How many of the cell's last placements count as still building while their claims exist."""


class Ratios(Model):
    """Overcommit: how much may be reserved for each physical unit."""

    vcpus: float = 4.0
    memory: float = 1.0
    disk: float = 1.0


class HostTable:
    """Columns over the hosts; a host keeps its row number."""

    def __init__(self, ratios: Ratios) -> None:
        self._ratios = ratios
        self.ids: list[str] = []
        self.hosts: dict[str, Host] = {}
        self.rows: dict[str, int] = {}
        self.claimed_by: dict[str, str] = {}
        """Claim id -> host id."""
        self.ready: Mask = np.zeros(FIRST_ROWS, dtype=np.bool_)
        self.zone: npt.NDArray[np.int64] = np.zeros(FIRST_ROWS, dtype=np.int64)
        self.arch: npt.NDArray[np.int64] = np.zeros(FIRST_ROWS, dtype=np.int64)
        self.free: dict[str, Vector] = {name: np.zeros(FIRST_ROWS) for name in RESOURCES}
        """Resource -> how much of it may still be reserved, by row."""
        self.recent: Vector = np.zeros(FIRST_ROWS)
        """Number of claims that count as still building, by row."""
        self.latest = 0
        """Number of the cell's last placement."""
        self._building: dict[int, int] = {}
        """Number of a placement that counts as still building -> row."""
        self._ranks: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def _grow(self, size: int) -> None:
        more = size - len(self.ready)
        self.ready = np.pad(self.ready, (0, more))
        self.zone = np.pad(self.zone, (0, more))
        self.arch = np.pad(self.arch, (0, more))
        self.free = {name: np.pad(column, (0, more)) for name, column in self.free.items()}
        self.recent = np.pad(self.recent, (0, more))

    def __len__(self) -> int:
        return len(self.ids)

    def put(self, host: Host) -> None:
        """Write the host's row."""
        row = self.rows.get(host.id)
        if row is None:
            row = len(self.ids)
            if row >= len(self.ready):
                self._grow(len(self.ready) * 2)
            self.ids.append(host.id)
            self.rows[host.id] = row
        before = self.hosts.get(host.id)
        if before is not None and before.claims is not host.claims:
            for claim_id in before.claims.keys() - host.claims.keys():
                self.claimed_by.pop(claim_id, None)
                self._built(before.claims[claim_id].number)
        if before is None or before.claims is not host.claims:
            for claim_id in host.claims.keys() - (before.claims.keys() if before else set()):
                self.claimed_by[claim_id] = host.id
                number = host.claims[claim_id].number
                if number > max(0, self.latest - RECENT):
                    self._building[number] = row
                    self.recent[row] += 1
        if host.placed > self.latest:
            self._count_to(host.placed)
        self.hosts[host.id] = host
        self.ready[row] = host.enabled and host.health is HostHealth.UP
        self.zone[row] = code(host.zone)
        self.arch[row] = code(host.inventory.arch)
        used = host.used()
        for name, column in self.free.items():
            column[row] = getattr(host.inventory, name) * getattr(self._ratios, name) - used[name]

    def room(self, host_id: str) -> dict[str, int]:
        """Return how much of each resource may still be reserved on a host; below zero where it has too little."""
        row = self.rows[host_id]
        return {name: int(column[row]) for name, column in self.free.items()}

    @property
    def ranks(self) -> npt.NDArray[np.int64]:
        """Return, for each row, its place in the order in which hosts first registered, which decides among equals."""
        if len(self._ranks) != len(self.ids):
            order = sorted(range(len(self.ids)), key=lambda row: (self.hosts[self.ids[row]].created, self.ids[row]))
            self._ranks = np.empty(len(order), dtype=np.int64)
            self._ranks[order] = np.arange(len(order))
        return self._ranks

    def _count_to(self, latest: int) -> None:
        """Set the number of the cell's last placement; placements that are RECENT before it count no more."""
        if latest == self.latest + 1:
            self._built(latest - RECENT)
        else:
            for number in [each for each in self._building if each <= latest - RECENT]:
                self._built(number)
        self.latest = latest

    def _built(self, number: int) -> None:
        row = self._building.pop(number, None)
        if row is not None:
            self.recent[row] -= 1

    def least_used_partition(self, partitions: int) -> int:
        """Return the jobs partition that the fewest hosts share."""
        used = Counter(host.partition for host in self.hosts.values())
        return min(range(partitions), key=lambda number: (used[number], number))


_CODES: dict[str, int] = {}


def code(word: str) -> int:
    """Return a number that stands for a word in a column, the same for as long as the process lives."""
    return _CODES.setdefault(word, len(_CODES) + 1)
