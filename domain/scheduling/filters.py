"""Filters: each selects suitable hosts. A policy applies them in order, and counts the hosts that pass each."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from domain.scheduling.demand import Demand
from domain.scheduling.table import HostTable, Mask, code


@dataclass(frozen=True)
class Filter:
    """A mask over the hosts, with its name and an explanation for people."""

    name: str
    story: str
    """Reason for which a filter rejects hosts, as "N were ..."."""
    mask: Callable[[Demand, HostTable, slice], Mask]


def _all(table: HostTable, rows: slice) -> Mask:
    return np.ones(rows.stop, dtype=np.bool_)


def _wanted(request: Demand, table: HostTable, rows: slice) -> Mask:
    mask = _all(table, rows)
    if request.wanted_host:
        mask[:] = False
        if (row := table.rows.get(request.wanted_host)) is not None:
            mask[row] = True
    if request.among:
        reached = [row for host_id in request.among if (row := table.rows.get(host_id)) is not None]
        mask[np.setdiff1d(np.arange(len(mask)), reached)] = False
    for host_id in request.avoid:
        if (row := table.rows.get(host_id)) is not None:
            mask[row] = False
    return mask


def _zone(request: Demand, table: HostTable, rows: slice) -> Mask:
    if not request.zone:
        return _all(table, rows)
    return np.asarray(table.zone[rows] == code(request.zone))


def _arch(request: Demand, table: HostTable, rows: slice) -> Mask:
    if not request.arch:
        return _all(table, rows)
    return np.asarray(table.arch[rows] == code(request.arch))


def _ready(request: Demand, table: HostTable, rows: slice) -> Mask:
    return table.ready[rows]


def _enough(resource: str, request: Demand, table: HostTable, rows: slice) -> Mask:
    mask: Mask = table.free[resource][rows] >= getattr(request, resource)
    return mask


def _vcpus(request: Demand, table: HostTable, rows: slice) -> Mask:
    return _enough("vcpus", request, table, rows)


def _memory(request: Demand, table: HostTable, rows: slice) -> Mask:
    return _enough("memory", request, table, rows)


def _disk(request: Demand, table: HostTable, rows: slice) -> Mask:
    return _enough("disk", request, table, rows)


ENABLED_AND_UP = Filter("enabled-and-up", "disabled or not up", _ready)
ZONE = Filter("zone", "in another zone", _zone)
WANTED_HOST = Filter("wanted-host", "not the host asked for", _wanted)
ARCH = Filter("arch", "of another architecture", _arch)
VCPU = Filter("vcpu", "short of vCPUs", _vcpus)
MEMORY = Filter("memory", "short of memory", _memory)
DISK = Filter("disk", "short of disk", _disk)

FILTERS = {each.name: each for each in (ENABLED_AND_UP, ZONE, WANTED_HOST, ARCH, VCPU, MEMORY, DISK)}
