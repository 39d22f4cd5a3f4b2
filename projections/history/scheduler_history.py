"""A cell's past, read off the log: its hosts as they were some time ago, and what was decided since, in order.

Why from the log and not from history: the log alone has the record that each decision was made on, and so their order.
Events from long before are folded as they come; only those of the window, and of the hour before it, are kept and
sorted, since no clock is further off than that.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from domain.core.errors import PastMissing, PastTooLong, UnknownMessage
from domain.core.messages import Event, Key, Record, Topic, from_record, names_of
from domain.host.messages import PlacementRefused
from domain.host.state import Host, evolve
from domain.scheduling.replay import SchedulerFact, SchedulerPast
from infra.log.log import Log
from infra.log.records import records

SKEW = timedelta(hours=1)
"""How far the times of decisions may be out of order."""
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
"""No decision is from before the first of these moments, nor from after the second."""
MOST_FACTS = 500_000
"""Decisions that one window may have."""
HOST = b"host/"
REFUSED = {name.encode() for name in names_of(PlacementRefused)}


class _Cell:
    """The past of a cell while it is read."""

    def __init__(self, since: datetime, until: datetime) -> None:
        self._early, self._late = max(since, EARLIEST) - SKEW, min(until, LATEST) + SKEW
        self._hosts: dict[str, Host] = {}
        self._versions: dict[str, int] = {}
        self._kept: set[str] = set()
        """Ids of hosts of which a fact is kept; every later fact of such a host is kept, too."""
        self._facts: dict[str, SchedulerFact] = {}

    def take(self, record: Record) -> None:
        """Learn from a record, if it is about a host or a placement. Raises PastMissing, PastTooLong."""
        headers = dict(record.headers)
        of_host = (headers.get("ce_subject") or b"").startswith(HOST) and "ce_aggversion" in headers
        if not of_host and headers.get("ce_type") not in REFUSED:
            return
        try:
            envelope = from_record(record)
        except UnknownMessage as error:
            raise PastMissing(what=str(error)) from error
        assert isinstance(envelope.data, Event)
        host, version = envelope.subject.id if of_host else "", envelope.aggversion or 0
        if (of_host and not self._is_next(host, version, record)) or envelope.time > self._late:
            return
        if of_host and host not in self._kept and envelope.time < self._early:
            self._hosts[host] = evolve(self._hosts.get(host), envelope.data, host)
        elif of_host or envelope.time >= self._early:
            self._kept |= {host} if of_host else set()
            place = (record.topic, record.partition or 0, record.offset)
            cause = _cause(headers.get("ce_causeplace", b""), record)
            fact = SchedulerFact(envelope.id, envelope.subject, version, envelope.time, cause, place, envelope.data)
            self._facts.setdefault(envelope.id, fact)
            if len(self._facts) > MOST_FACTS:
                raise PastTooLong(most=MOST_FACTS)

    def _is_next(self, host: str, version: int, record: Record) -> bool:
        last = self._versions.get(host, 0)
        if version <= last:
            return False
        if version > last + 1:
            raise PastMissing(what=f"{Key('host', host)}: version {version} follows {last} at {record.place}")
        self._versions[host] = version
        return True

    def past(self) -> SchedulerPast:
        """Return all that was read, in the order of the decisions.

        A clock that went back is not followed: times never fall, and so merge what cells with streams of their own
        decided.
        """
        latest: dict[int, datetime] = {}
        facts = []
        for fact in sorted(self._facts.values(), key=_order):
            time = latest[fact.cause[0]] = max(fact.time, latest.get(fact.cause[0], fact.time))
            facts.append(replace(fact, time=time))
        return SchedulerPast(self._hosts, sorted(facts, key=lambda fact: fact.time))


def _order(fact: SchedulerFact) -> tuple[int, ...]:
    return *fact.cause, fact.version


async def read_past(log: Log, since: datetime, until: datetime) -> SchedulerPast:
    """Read from the log what is needed to decide the placements between these moments again.

    Raises PastMissing, PastTooLong, LogUnavailable.
    """
    for partition, (first, _) in (await log.bounds([Topic.EVENTS])).items():
        if first:
            raise PastMissing(what=f"{partition.topic}:{partition.partition} begins at offset {first}")
    cell = _Cell(since, until)
    async for record in records(log, Topic.EVENTS):
        cell.take(record)
    return cell.past()


def _cause(place: bytes, record: Record) -> tuple[int, int]:
    _, _, rest = place.decode().partition(":")
    partition, _, offset = rest.partition(":")
    if not (partition.isdecimal() and offset.isdecimal()):
        raise PastMissing(what=f"{record.place} does not name the record that it was decided on")
    return int(partition), int(offset)
