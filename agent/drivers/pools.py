"""The pools that a host knows: looks at them, and work on them, of which none holds up another's.

Storage that hangs keeps whoever asks it: each pool has threads of its own.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import TypeVar

import orjson

from agent.drivers import whole_file
from agent.drivers.driver import DriverError, DriverFault
from agent.drivers.storage.ceph import CephFault
from agent.drivers.storage.files import FilePool
from agent.drivers.storage.rbd import RbdPool
from agent.drivers.storage.store import PoolStore
from domain.jobs.pool import PoolOnHost, PoolPlace, PoolSight, PoolSpace, PoolType

LOOK_SECONDS = 5.0
"""Time that a look at a pool may take; a look that hangs is the only one until it ends."""
THREADS = 4
"""Pieces of work on one pool side by side."""
STORES: dict[PoolType, Callable[[PoolPlace], PoolStore]] = {PoolType.FILE: FilePool, PoolType.RBD: RbdPool}

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Pools:
    """The pools that the operator has made, as one host finds them."""

    def __init__(self, file: Path, host_id: str) -> None:
        """`file`: keeps the known pools, for an agent that starts while the API is away; `host_id`: this host's."""
        self._file = file
        self._host_id = host_id
        self._places = {each.id: each for each in _kept(file)}
        self._looks: dict[str, threading.Thread] = {}
        self._found: dict[str, PoolOnHost] = {}
        self._workers: dict[str, ThreadPoolExecutor] = {}

    @property
    def ids(self) -> set[str]:
        """The ids of the pools that are known."""
        return set(self._places)

    def know(self, places: Iterable[PoolPlace]) -> list[PoolOnHost]:
        """Take over the pools that there are, and return what the host finds of each; blocks. Raises OSError."""
        known = {each.id: each for each in places}
        if known != self._places:
            whole_file.put(self._file, orjson.dumps([each.model_dump() for each in known.values()]).decode())
            self._places = known
            for gone in self._workers.keys() - known.keys():
                self._workers.pop(gone).shutdown(wait=False, cancel_futures=True)
        for place in known.values():
            running = self._looks.get(place.id)
            if running is None or not running.is_alive():
                # A file system whose server is gone keeps a thread for ever: it is the only one, and holds up no exit.
                self._looks[place.id] = threading.Thread(target=self._look, args=(place,), daemon=True)
                self._looks[place.id].start()
        deadline = LOOK_SECONDS
        for place in known.values():
            self._looks[place.id].join(deadline)
            if self._looks[place.id].is_alive():
                self._found[place.id] = PoolOnHost(id=place.id, sight=PoolSight.NO_ANSWER)
                deadline = 0.0
        return [self._found[ident] for ident in known]

    async def run(self, pool_id: str, work: Callable[[PoolStore], T]) -> T:
        """Run work on a pool's volumes, which blocks, in a thread of the pool's, and return its result.

        Raises DriverError "pool-not-reached", or what the work raises.
        """
        place = self._places.get(pool_id)
        if place is None:
            raise DriverError(DriverFault.POOL_NOT_REACHED, f"this host knows no pool {pool_id}")
        store = STORES[place.type](place)
        workers = self._workers.get(pool_id)
        if workers is None:
            workers = self._workers[pool_id] = ThreadPoolExecutor(THREADS, thread_name_prefix=f"pool-{pool_id[:8]}")
        return await asyncio.get_running_loop().run_in_executor(workers, copy_context().run, work, store)

    def close(self) -> None:
        """Take no more work; what has begun ends by itself."""
        for workers in self._workers.values():
            workers.shutdown(wait=False, cancel_futures=True)

    def _look(self, place: PoolPlace) -> None:
        founds = bool(place.founder) and place.founder == self._host_id
        try:
            space = STORES[place.type](place).look(founds)
            why = ""
        except CephFault as problem:
            space, why = PoolSpace(sight=problem.sight), str(problem)
        before = self._found.get(place.id)
        if before is None or before.sight is not space.sight:
            logger.info("pool %s is %s%s", place.name, space.sight, f": {why}" if why else "")
        self._found[place.id] = PoolOnHost(id=place.id, **space.model_dump())


def _kept(file: Path) -> list[PoolPlace]:
    try:
        return [PoolPlace.model_validate(each) for each in orjson.loads(file.read_bytes())]
    except FileNotFoundError:
        return []
