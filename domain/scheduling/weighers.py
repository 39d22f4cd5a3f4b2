"""Weighers: each scores every host from 0 to 1; the weighed sum decides among the hosts that passed the filters."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from domain.scheduling.table import HostTable, Vector


@dataclass(frozen=True)
class Weigher:
    """A vector of scores over the hosts, with its name."""

    name: str
    vector: Callable[[HostTable, slice], Vector]


def _free_memory(table: HostTable, rows: slice) -> Vector:
    return table.free["memory"][rows]


def _free_vcpus(table: HostTable, rows: slice) -> Vector:
    return table.free["vcpus"][rows]


def _few(table: HostTable, rows: slice) -> Vector:
    return -table.recent[rows]


FREE_MEMORY = Weigher("free-memory", _free_memory)
FREE_VCPU = Weigher("free-vcpu", _free_vcpus)
FEWEST_BUILDING = Weigher("fewest-building", _few)
"""Prefers hosts with few recent placements, which stand for builds: the scheduler does not know those."""

WEIGHERS = {each.name: each for each in (FREE_MEMORY, FREE_VCPU, FEWEST_BUILDING)}


def scaled(values: Vector) -> Vector:
    """Scale values linearly to 0..1; equal values all become 0."""
    if not len(values):
        return values
    low, high = values.min(), values.max()
    if high == low:
        return np.zeros_like(values)
    return np.asarray((values - low) / (high - low))
