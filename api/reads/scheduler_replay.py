"""Answers that need a replay of the scheduler's past, and the refusals that a replay may end in."""

from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from api.http.refusals import Overloaded, ReplayTooLong
from api.services import Services
from domain.core.resources import RESOURCES
from domain.scheduling.table import Ratios
from projections.history.replay import ReplayBusy, ReplayOverdue

BUSY_SECONDS = 5
"""Seconds after which a refused replay may be requested again."""
Found = TypeVar("Found")


async def replayed(services: Services, replay: Coroutine[Any, Any, Found]) -> Found:
    """Return what a replay found. Raises Overloaded, ReplayTooLong, PastMissing, PastTooLong, LogUnavailable."""
    try:
        return await replay
    except ReplayBusy as error:
        raise Overloaded(
            now=1, what="replay of the past", bound="a process", most=1, retry_after=BUSY_SECONDS
        ) from error
    except ReplayOverdue as error:
        raise ReplayTooLong(seconds=services.settings.api.replay_timeout) from error


def with_capacity(sizes: Mapping[str, Any], ratios: Ratios) -> dict[str, Any]:
    """Return the used and total amounts of resources, by name, with how much of each may be promised."""
    return {name: {**sizes[name], "capacity": int(sizes[name]["total"] * getattr(ratios, name))} for name in RESOURCES}


def own_ratios(services: Services) -> Ratios:
    """Return the scheduler's overcommit ratios, assuming that it has the same settings as this process."""
    own = services.settings.scheduling
    return Ratios(vcpus=own.vcpu_ratio, memory=own.memory_ratio, disk=own.disk_ratio)
