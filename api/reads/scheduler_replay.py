"""Answers that are found by going through the scheduler's past again: how that is asked for, and what may be wrong."""

from collections.abc import Coroutine
from typing import Any, TypeVar

from api.http.refusals import Overloaded, ReplayTooLong
from api.services import Services
from domain.scheduling.table import Ratios
from projections.history.replay import ReplayBusy, ReplayOverdue

BUSY_SECONDS = 5
"""After which it may be asked for again."""
Found = TypeVar("Found")


async def replayed(given: Services, asked: Coroutine[Any, Any, Found]) -> Found:
    """What was found. Raises Overloaded, ReplayTooLong, PastMissing, PastTooLong, LogUnavailable."""
    try:
        return await asked
    except ReplayBusy as error:
        raise Overloaded(
            now=1, what="replay of the past", bound="a process", most=1, retry_after=BUSY_SECONDS
        ) from error
    except ReplayOverdue as error:
        raise ReplayTooLong(seconds=given.settings.api.replay_timeout) from error


def own_ratios(given: Services) -> Ratios:
    """Those that the scheduler has, if it is set like this process."""
    own = given.settings.scheduling
    return Ratios(vcpus=own.vcpu_ratio, memory=own.memory_ratio, disk=own.disk_ratio)
