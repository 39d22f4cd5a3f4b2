"""Weighers: each gives every host a number, scaled to 0..1; the sum decides among the hosts that the filters left."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from domain.scheduling.table import HostTable, Vector


@dataclass(frozen=True)
class Weigher:
    """A vector over the hosts, with its name."""

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
"""The scheduler knows placements, not builds: those made last stand for those that are still building."""

WEIGHERS = {each.name: each for each in (FREE_MEMORY, FREE_VCPU, FEWEST_BUILDING)}


def scaled(values: Vector) -> Vector:
    """Linearly to 0..1; all the same is all 0."""
    if not len(values):
        return values
    low, high = values.min(), values.max()
    if high == low:
        return np.zeros_like(values)
    return np.asarray((values - low) / (high - low))
