"""Cells: parts of the fleet that are scheduled apart, each by its own stream of decisions.

A host belongs to one cell for ever, and so does a zone, since only one scheduler may decide for it. An instance does
not: it is asked for in one cell, and where no host there will do, in the next.
"""

import hashlib
import math
from collections.abc import Mapping

DEFAULT_CELL = "default"
"""Cell of whatever names none, and of all data that was written before there were other cells."""
MOST_CELLS = 8
"""How many cells are tried for one instance at most."""


def in_turn(hosts: Mapping[str, int], seed: str) -> tuple[str, ...]:
    """In which cells to ask for a place, in this order. Over many seeds each cell comes first as often as it has
    hosts, in proportion; the same seed gives the same order for ever.

    Weighted rendezvous hashing: Schindelhauer and Schomaker, "Weighted Distributed Hash Tables", SPAA 2005.
    """

    def drawn(cell: str) -> float:
        digest = hashlib.sha256(f"{seed}/{cell}".encode()).digest()
        share = (int.from_bytes(digest[:8], "big") + 1) / 2**64
        return -math.log(share) / hosts[cell]

    wanted = (cell for cell, count in hosts.items() if count > 0)
    return tuple(sorted(wanted, key=lambda cell: (drawn(cell), cell))[:MOST_CELLS])
