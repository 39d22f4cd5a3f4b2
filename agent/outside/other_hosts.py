"""Other hosts, as a job sees them: their agents, which are asked for an instance's disk.

Why a port: a host asks over HTTP, while many hosts that are simulated in one process hand their disks to one another.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Protocol

from agent.drivers.driver import DiskContent, Driver, DriverError

UNREACHABLE = "host-unreachable"
SILENT = "the agent of the other host does not answer"
"""Code of a DriverError: the other host's agent does not answer. It may be starting, so asking again may help."""


class OtherHosts(Protocol):
    """Agents of other hosts."""

    def disk(self, endpoint: str, host_id: str, instance_id: str) -> AbstractAsyncContextManager[DiskContent]:
        """Open an instance's root disk on another host, whose agent is at `endpoint` (a base URL).

        Entering it, or taking its chunks, raises DriverError: what the other host's driver raises, "host-unknown",
        "host-unreachable", or "disk-damaged" where what came is not what was sent.
        """


class NoOtherHosts:
    """A substitute for a host without other hosts: every call fails."""

    @asynccontextmanager
    async def disk(self, endpoint: str, host_id: str, instance_id: str) -> AsyncIterator[DiskContent]:
        """Raise DriverError "host-unreachable" in any case."""
        raise DriverError(UNREACHABLE, f"there is no way to host {host_id}")
        yield


class OtherHostsInMemory:
    """Hosts of this very process."""

    def __init__(self, drivers: Mapping[str, Driver]) -> None:
        """`drivers`: by host id."""
        self._drivers = drivers

    @asynccontextmanager
    async def disk(self, endpoint: str, host_id: str, instance_id: str) -> AsyncIterator[DiskContent]:
        """Read it where it is."""
        driver = self._drivers.get(host_id)
        if driver is None:
            raise DriverError("host-unknown", f"this agent does not serve host {host_id}")
        content = await driver.read_disk(instance_id)
        async with aclosing(content.chunks):
            yield content
