"""How a host is registered: the agent sends the host's inventory, and the scheduler answers with its epoch and the
partition of its jobs."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from agent.runner.runner import HostIdentity
from domain.core.errors import UnknownMessage
from domain.core.messages import (
    Envelope,
    Key,
    Record,
    Topic,
    derived_id,
    from_record,
    named_id,
    to_record,
)
from domain.host.messages import HostRegistered, Inventory, RegisterHost
from domain.tasks.events import CommandRefused
from infra.log.log import Log, TopicPartition

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 10.0
TRIES = 60


class NotRegistered(Exception):
    """The scheduler did not answer, or refused a host."""


@dataclass(frozen=True)
class Candidate:
    """A host that is to be registered."""

    name: str
    zone: str
    inventory: Inventory
    endpoint: str
    uplink: str = ""
    """Address at which its guest networks are reached by other hosts."""
    tunnel_key: str = ""
    """Public key by which other hosts encrypt what they send there."""

    @property
    def id(self) -> str:
        """Return the host's id, which is made of its name."""
        return named_id("host", self.name)


async def register(
    log: Log, cell: str, candidates: Sequence[Candidate], clock: Callable[[], datetime]
) -> Mapping[str, HostIdentity]:
    """Register these hosts; return their identities by host id.

    Raises NotRegistered where the scheduler stays silent or refuses one, LogUnavailable.
    """
    ends = {each: end for each, (_, end) in (await log.bounds([Topic.EVENTS])).items()}
    reader = await log.reader(ends)
    found: dict[str, HostIdentity] = {}
    try:
        for attempt in range(TRIES):
            missing = [candidate for candidate in candidates if candidate.id not in found]
            commands = {}
            for candidate in missing:
                record, envelope = _command(candidate, cell, clock(), attempt)
                commands[envelope.id] = record
            for start in range(0, len(missing), 500):
                await log.publish(list(commands.values())[start : start + 500])
            waited = 0.0
            while len(found) < len(candidates) and waited < ANSWER_SECONDS:
                records = await reader.fetch(1000, 0.5)
                waited += 0.0 if records else 0.5
                _take(records, {candidate.id: candidate for candidate in missing}, set(commands), found)
            if len(found) == len(candidates):
                return found
            logger.warning("%s of %s hosts are registered; trying again", len(found), len(candidates))
    finally:
        await reader.close()
    raise NotRegistered(f"the scheduler of cell {cell} did not answer")


def _take(
    records: Sequence[Record],
    candidates: Mapping[str, Candidate],
    commands: set[str],
    found: dict[str, HostIdentity],
) -> None:
    for record in records:
        try:
            envelope = from_record(record)
        except UnknownMessage:
            continue
        event = envelope.data
        if isinstance(event, CommandRefused) and envelope.causation in commands:
            host = candidates[envelope.subject.id].name
            raise NotRegistered(f"{host} cannot be registered as a host: {event.message} {event.hint}".rstrip())
        if isinstance(event, HostRegistered) and envelope.subject.id in candidates and envelope.causation in commands:
            found[envelope.subject.id] = HostIdentity(
                id=envelope.subject.id, name=event.name, epoch=event.epoch, partition=event.partition
            )


def _command(candidate: Candidate, cell: str, now: datetime, attempt: int) -> tuple[Record, Envelope]:
    command_id = derived_id(candidate.id, "register", now.isoformat(), attempt)
    envelope = Envelope(
        id=command_id,
        data=RegisterHost(
            name=candidate.name,
            zone=candidate.zone,
            cell=cell,
            inventory=candidate.inventory,
            endpoint=candidate.endpoint,
            uplink=candidate.uplink,
            tunnel_key=candidate.tunnel_key,
        ),
        subject=Key("host", candidate.id),
        time=now,
        source=f"gostack/agent/{candidate.name}",
        correlation=command_id,
    )
    return to_record(envelope, Topic.SCHEDULING, key=cell), envelope


def job_positions(
    partitions: set[int],
    remembered: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
) -> dict[TopicPartition, int]:
    """Return the offsets from which to read jobs: where the journal left off, or, in a partition that is new here, the
    end that it had before the host was registered."""
    positions = {}
    for number in partitions:
        partition = TopicPartition(Topic.JOBS, number)
        positions[partition] = remembered.get(partition, ends[partition])
    return positions
