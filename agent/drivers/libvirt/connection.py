"""The connection to a host's libvirt daemon: made when it is needed, made anew when it was lost.

Why calls are handed to threads: the library blocks. Why its event loop has a thread of its own: without one there are
no lifecycle events, and no keepalive that notices a daemon that hangs.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from contextvars import copy_context
from functools import cache
from typing import TypeVar

import libvirt

from agent.drivers.driver import DriverError, DriverFault
from infra.process.error_text import text_of

ATTEMPTS = 3
PAUSE = 0.2
"""Seconds between attempts to connect."""
KEEPALIVE_INTERVAL, KEEPALIVE_COUNT = 5, 3
"""Seconds of silence until libvirt asks, and questions without an answer until it gives up."""
LOST = {libvirt.VIR_ERR_RPC, libvirt.VIR_ERR_NO_CONNECT, libvirt.VIR_ERR_INVALID_CONN}
ONLY_ON_PAPER = {libvirt.VIR_DOMAIN_EVENT_DEFINED, libvirt.VIR_DOMAIN_EVENT_UNDEFINED}
"""Events that say nothing of a guest's power."""

REFUSED = "the hypervisor refused it; the log of the host's agent says why"

logger = logging.getLogger(__name__)

T = TypeVar("T")

Changed = Callable[[str], None]
"""Called from libvirt's thread with the name of a domain."""


class Connection:
    """Runs blocking work against libvirt in threads; what libvirt refuses comes back as a DriverError."""

    def __init__(self, uri: str, executor: Executor, changed: Changed, rebooted: Changed) -> None:
        self._uri = uri
        self._executor = executor
        self._changed = changed
        self._rebooted = rebooted
        self._lock = threading.Lock()
        self._open: libvirt.virConnect | None = None

    async def call(self, work: Callable[[libvirt.virConnect], T]) -> T:
        """Run `work` with the connection in a thread, and return its result.

        Raises DriverError "hypervisor-unreachable", after which the next call connects again, or what `work` raises,
        libvirt's errors as "hypervisor-refused".
        """
        return await asyncio.get_running_loop().run_in_executor(self._executor, copy_context().run, self._guarded, work)

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work`, which blocks but does not need libvirt, in a thread, and return its result."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, copy_context().run, work)

    def close(self) -> None:
        """Let go. A later call would connect again."""
        with self._lock:
            self._drop()

    def _guarded(self, work: Callable[[libvirt.virConnect], T]) -> T:
        connection = self._connected()
        try:
            return work(connection)
        except libvirt.libvirtError as problem:
            if problem.get_error_code() in LOST or not _alive(connection):
                raise self._unreachable(problem) from problem
            raise DriverError(DriverFault.HYPERVISOR_REFUSED, REFUSED, text_of(problem)) from problem

    def _unreachable(self, problem: Exception) -> DriverError:
        inside = f"{self._uri}: {text_of(problem)}"
        return DriverError(DriverFault.HYPERVISOR_UNREACHABLE, "the hypervisor does not answer", inside)

    def _connected(self) -> libvirt.virConnect:
        with self._lock:
            if self._open is not None:
                if _alive(self._open):
                    return self._open
                logger.warning("the connection to %s was lost", self._uri)
                self._drop()
            self._open = self._connect()
            return self._open

    def _connect(self) -> libvirt.virConnect:
        run_event_loop()
        for attempt in range(1, ATTEMPTS + 1):
            try:
                connection = libvirt.open(self._uri)
                self._listen(connection)
                return connection
            except libvirt.libvirtError as problem:
                if attempt == ATTEMPTS:
                    raise self._unreachable(problem) from problem
            time.sleep(PAUSE)
        raise AssertionError("the last attempt returns or raises")

    def _listen(self, connection: libvirt.virConnect) -> None:
        with suppress(libvirt.libvirtError):
            # libvirt's own test driver has no wire to keep alive.
            connection.setKeepAlive(KEEPALIVE_INTERVAL, KEEPALIVE_COUNT)
        connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._on_lifecycle, None)
        connection.domainEventRegisterAny(
            None, libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, lambda _c, domain, *_: self._rebooted(domain.name()), None
        )

    def _on_lifecycle(self, _: libvirt.virConnect, domain: libvirt.virDomain, event: int, *_more: object) -> None:
        if event not in ONLY_ON_PAPER:
            self._changed(domain.name())

    def _drop(self) -> None:
        if self._open is None:
            return
        # Closing takes the callbacks along.
        with suppress(libvirt.libvirtError):
            self._open.close()
        self._open = None


def _alive(connection: libvirt.virConnect) -> bool:
    try:
        return bool(connection.isAlive())
    except libvirt.libvirtError:
        # Another thread has closed it.
        return False


@cache
def run_event_loop() -> threading.Thread:
    """libvirt's event loop, which is one for the whole process and never ends."""
    libvirt.registerErrorHandler(lambda *_: None, None)  # else it prints what is raised as well
    libvirt.virEventRegisterDefaultImpl()
    thread = threading.Thread(target=_turn, name="libvirt-events", daemon=True)
    thread.start()
    return thread


def _turn() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()
