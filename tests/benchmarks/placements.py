"""Placements: how many a second one scheduler decides over 10,000 hosts, beside bare numpy over the same columns.

The decision is the real one: filters, weighers, the claim as an event, the host's state after it, and its row in the
table written anew. The bare pass compares and weighs the same columns, picks the best row, and keeps no account.
"""

import time
import uuid
from datetime import UTC, datetime
from typing import Any

import numpy as np

from commands.scheduler import SchedulerRules
from domain.core.messages import Envelope, Key, named_id
from domain.host.messages import Inventory, RegisterHost
from domain.jobs.scheduling import PlaceInstance
from domain.scheduling.table import Ratios
from domain.tasks.messages import Reply
from tests.benchmarks.processes import percentile, spread

HOSTS = 10_000
PLACEMENTS = 3000
CELL = Key("cell", "default")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
INVENTORY = Inventory(vcpus=64, memory=256 << 30, disk=4 << 40)


def _envelope(data: Any, subject: Key) -> Envelope:
    ident = str(uuid.uuid4())
    return Envelope(id=ident, data=data, subject=subject, time=NOW, source="bench", correlation=ident)


class Cell:
    """A scheduler's rules with the states that they decide on."""

    def __init__(self, hosts: int) -> None:
        self._rules = SchedulerRules(Ratios(), 96)
        self._states: dict[Key, Any] = {}
        for number in range(hosts):
            name = f"host-{number}"
            register = RegisterHost(name=name, zone="default", inventory=INVENTORY)
            self.decide(_envelope(register, Key("host", named_id("host", name))))

    def decide(self, envelope: Envelope) -> None:
        """Decide, and let it be so."""
        for key, event in self._rules.decide(envelope, self._states.get).events:
            after = self._rules.evolve(key, self._states.get(key), event)
            self._states[key] = after
            self._rules.changed(key, after)


def _request(number: int) -> PlaceInstance:
    ident = str(uuid.UUID(int=number))
    reply = Reply(subject=f"instance/{ident}", task_id=ident, dispatch_id=ident, job_id=ident)
    memory = (1 + number % 8) << 30
    return PlaceInstance(
        reply=reply, instance_id=ident, project="p", vcpus=1 + number % 4, memory=memory, disk=10 << 30
    )


def _real(cell: Cell, first: int, count: int) -> list[float]:
    times = []
    for number in range(first, first + count):
        envelope = _envelope(_request(number), CELL)
        begin = time.perf_counter()
        cell.decide(envelope)
        times.append(time.perf_counter() - begin)
    return times


def _bare(count: int, hosts: int) -> list[float]:
    random = np.random.default_rng(1)
    free = [random.random(hosts) * 100 for _ in range(3)]
    same = [np.ones(hosts, dtype=np.int64) for _ in range(2)]
    ready = np.ones(hosts, dtype=np.bool_)
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        mask = ready & (same[0] == 1) & (same[1] == 1) & (free[0] >= 1) & (free[1] >= 1) & (free[2] >= 1)
        left = np.flatnonzero(mask)
        score = np.zeros(len(left))
        for column in free:
            picked = column[left]
            score += (picked - picked.min()) / (picked.max() - picked.min())
        free[0][left[int(score.argmax())]] -= 1
        times.append(time.perf_counter() - begin)
    return times


def measure(rounds: int = 3, hosts: int = HOSTS, count: int = PLACEMENTS) -> dict[str, Any]:
    """Placements a second, real and bare in turn, with the real one's percentiles in milliseconds."""
    cell = Cell(hosts)
    real, bare = [], []
    for each in range(rounds):
        real.append(_real(cell, each * count, count))
        bare.append(_bare(count, hosts))
    every = [seconds for times in real for seconds in times]
    return {
        "hosts": hosts,
        "placements_per_second": spread([count / sum(times) for times in real]),
        "ms": {p: round(percentile(every, p) * 1000, 3) for p in (50, 95, 99)},
        "bare_numpy_per_second": spread([count / sum(times) for times in bare]),
    }
