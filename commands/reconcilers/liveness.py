"""Liveness: a host whose heartbeats are missing for a while is suspect, and gets no new instances until they are back.

Suspect says that we do not know, not that its guests are gone: nothing is moved or fenced because of it.

Silence is measured by how long nothing came, not by what clocks say: a host's may be wrong, and this one's may jump.
What lay on the log while this process was away counts as received when it is read; a dead host is then suspect a grace
later. So the log is probed, too: while it does not answer no heartbeat can come, and all silence begins anew when it
does. The same holds where this process itself stood still: what came meanwhile waits to be read.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from domain.core.errors import UnknownMessage
from domain.core.messages import (
    Envelope,
    Key,
    Record,
    Topic,
    derived_id,
    from_record,
    to_record,
)
from domain.host.messages import (
    HearHost,
    HostHeard,
    HostRegistered,
    HostSuspected,
    SuspectHost,
)
from domain.host.reports import Heartbeat
from domain.host.state import Host, HostHealth
from infra.log.lag import Lag, lags
from infra.log.log import Log, TopicPartition
from infra.process import log_context

logger = logging.getLogger(__name__)

FETCH = 1000
PATIENCE = 1.0
"""Seconds for which the broker may hold a fetch back; small beside any grace."""
AT_ONCE = 2.0
"""Seconds in which a log that is there has answered."""
TURN = PATIENCE + 2 * AT_ONCE
"""Seconds that one round of fetching, probing and publishing takes at most, where nothing stands still."""


@dataclass
class HostLiveness:
    """When a host's last heartbeat came, and whether the host is suspect."""

    heard_at: float | None
    """When the last heartbeat came, in seconds of no particular beginning; None where none came since the host is
    suspect."""
    cell: str
    """The cell whose scheduler decides for the host."""
    suspect: bool = False
    command_sent_at: float | None = None
    """When the last command about the host was sent, in the same seconds."""


class LivenessMonitor:
    """Reads heartbeats and the events of hosts, and has the schedulers suspect and trust hosts."""

    def __init__(
        self,
        log: Log,
        grace: float,
        clock: Callable[[], datetime],
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make the monitor.

        `grace`: seconds without a heartbeat after which a host is suspect; `elapsed` returns seconds of no particular
        beginning, which never jump.
        """
        self._log = log
        self._grace = grace
        self._clock = clock
        self._elapsed = elapsed
        self._hosts: dict[str, HostLiveness] = {}
        self._at: dict[TopicPartition, int] = {}
        self._log_answered_at: float | None = None
        """When the log answered last, in seconds of `elapsed`."""

    def take(self, records: Sequence[Record]) -> None:
        """Learn from these records of gostack.reports and gostack.events."""
        now = self._elapsed()
        for record in records:
            self._at[TopicPartition(record.topic, record.partition or 0)] = record.offset + 1
            if not (dict(record.headers).get("ce_subject") or b"").startswith(b"host/"):
                continue
            try:
                envelope = from_record(record)
            except UnknownMessage:
                continue
            liveness = self._hosts.get(envelope.subject.id)
            match envelope.data:
                case HostRegistered(cell=cell):
                    self._hosts[envelope.subject.id] = HostLiveness(now, cell)
                case Heartbeat() if liveness:
                    liveness.heard_at = now
                case HostSuspected() if liveness:
                    liveness.suspect, liveness.heard_at = True, None
                case HostHeard() if liveness:
                    liveness.suspect = False
                case _:
                    pass

    def changes(self) -> list[Record]:
        """Return the commands for hosts that fell silent or came back. Each is repeated only after the grace."""
        now, moment = self._elapsed(), self._clock()
        records = []
        for host_id, host in self._hosts.items():
            silent = host.heard_at is None or now - host.heard_at > self._grace
            if silent == host.suspect or (host.command_sent_at and now - host.command_sent_at < self._grace):
                continue
            host.command_sent_at = now
            command_id = derived_id(host_id, "beats", moment.isoformat())
            envelope = Envelope(
                id=command_id,
                data=SuspectHost() if silent else HearHost(),
                subject=Key("host", host_id),
                time=moment,
                source="gostack/beats",
                correlation=command_id,
            )
            records.append(to_record(envelope, Topic.SCHEDULING, key=host.cell))
            with log_context.handling(envelope):
                logger.warning("no heartbeat for %g s" if silent else "heartbeats are back after %g s", self._grace)
        return records

    async def look(self) -> dict[str, Lag]:
        """Measure how many heartbeats and events were not read yet. Raises LogUnavailable."""
        return await lags(self._log, dict(self._at), self._clock(), [Topic.REPORTS, Topic.EVENTS])

    async def check_log(self) -> None:
        """Probe the log. Where it did not answer at once, or was not probed for long, all silence begins anew.

        Raises LogUnavailable.
        """
        began = self._elapsed()
        await self._log.bounds([Topic.REPORTS])
        now = self._elapsed()
        stood_still = self._log_answered_at is not None and now - self._log_answered_at > TURN
        self._log_answered_at = now
        if stood_still or now - began > AT_ONCE:
            for host in self._hosts.values():
                host.heard_at = now if host.heard_at is not None else None

    async def run(self, hosts: Callable[[], Awaitable[Iterable[Host]]]) -> None:
        """Watch, from now on and for ever, the hosts that exist and those that come.

        Raises LogUnavailable, and what `hosts` raises.
        """
        bounds = await self._log.bounds([Topic.REPORTS, Topic.EVENTS])
        self._at = {each: end for each, (_, end) in bounds.items()}
        # Asked after the log: who registered before its end is among them, and who does so later is read of there.
        now = self._log_answered_at = self._elapsed()
        self._hosts |= {
            host.id: HostLiveness(
                None if host.health is HostHealth.SUSPECT else now, host.cell, host.health is HostHealth.SUSPECT
            )
            for host in await hosts()
        }
        reader = await self._log.reader(self._at, PATIENCE)
        try:
            while True:
                self.take(await reader.fetch(FETCH, 1.0))
                await self.check_log()
                if commands := self.changes():
                    await self._log.publish(commands)
        finally:
            await reader.close()
