"""Webhooks: each gets the events that it subscribed to, in the order of the log, at least once.

One process at a time delivers to a webhook, by a lease; any number of processes may try. It reads the log from the
position that the webhook has reached. Partitions are delivered side by side, since between them there is no order, and
each in its own order: so events of one subject come in order. An event that is not accepted holds up what follows in
its partition, and the webhook waits, each time longer; after a number of failures in a row, a command disables the
webhook, for a reason that users see.

The position moves after the answer came. A process that dies in between leaves events that are sent again, with the
same id.
"""

import asyncio
import logging
import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from commands.engine import EngineRules
from commands.rules import restored
from domain.core.event_filter import UNREADABLE, Interest
from domain.core.messages import Envelope, Key, Record, Topic, derived_id, to_record
from domain.webhook import DisableWebhook, Webhook
from infra.db.write_store import WriteStore, WriteStoreUnavailable
from infra.log.log import Log, LogUnavailable, Reader, TopicPartition
from infra.log.recent import Recent
from infra.process import log_context, metrics
from infra.process.loops import LoopStatus, every
from infra.process.settings import Webhooks as Policy
from infra.secrets.secrets import SecretStore, SecretsUnavailable
from infra.webhooks.deliveries import Deliveries, DeliveriesUnavailable, Delivery
from infra.webhooks.sender import Sender, SendResult, cloud_event

logger = logging.getLogger(__name__)

SOURCE = "gostack/webhooks"
LOOK_SECONDS = 1.0
"""Seconds between two looks at which webhooks exist."""
LEASE = timedelta(seconds=60)
LEAST_HELD = timedelta(seconds=45)
"""Least time that a lease must still last at the beginning of a round."""
ROUND_SECONDS = 20.0
"""Seconds after which a round begins no attempt: together with the longest attempt it ends within the lease."""
MOST_AT_ONCE = 4
"""Attempts for one webhook at the same time."""
BATCH = 200
FETCH_SECONDS = 1.0
PATIENCE = 0.2
AWAY_SECONDS = 5.0
NO_SECRET = "its secret is lost: give it a new one (gs webhook update --new-secret), then retry"
AWAY = (LogUnavailable, DeliveriesUnavailable, SecretsUnavailable, WriteStoreUnavailable)


@dataclass(frozen=True)
class DeliveryParts:
    """All that a delivery needs: the log, the stores, the HTTP sender, settings and clock."""

    log: Log
    write_store: WriteStore
    """The engine's write store, which holds the webhooks."""
    deliveries: Deliveries
    secrets: SecretStore
    sender: Sender
    policy: Policy
    clock: Callable[[], datetime]
    recent: Recent
    holder: str
    """Name of this process among those that hold leases."""
    chance: Callable[[], float] = random.random


@dataclass
class Lane:
    """The events of one partition in a round."""

    records: Sequence[Record]
    offset: int
    delivered: int = 0
    last: Record | None = None
    outcome: SendResult | None = None

    @property
    def failing(self) -> str:
        """Return the place of the event whose last attempt failed, or an empty text."""
        if self.last is None or self.outcome is None or not self.outcome.error:
            return ""
        return self.last.place


class Courier:
    """Delivers events to one webhook."""

    def __init__(self, parts: DeliveryParts, webhook: Webhook) -> None:
        self._parts = parts
        self.webhook = webhook
        """The webhook as it is now; the deliverer keeps it up to date."""
        self._delivery: Delivery | None = None
        """The stored delivery while this process holds the lease."""
        self._held_until = datetime.min.replace(tzinfo=UTC)
        self._reader: Reader | None = None
        self._read: list[int] = []
        """Offset per partition of the next record that the reader gives."""

    @property
    def offsets(self) -> tuple[int, ...]:
        """Return the offsets that the webhook has reached; empty while another process delivers to it."""
        return self._delivery.offsets if self._delivery is not None else ()

    async def run(self) -> None:
        """Deliver until cancelled; wait while the log, the database or the secrets are away."""
        with log_context.bound(webhook=self.webhook.id):
            try:
                while True:
                    try:
                        pause = await self.round()
                    except Exception as error:
                        # An unforeseen failure concerns this webhook alone, too: deliveries to the others go on.
                        if isinstance(error, AWAY):
                            logger.warning("delivery is interrupted, trying again: %s", error)
                        else:
                            logger.exception("delivery failed, trying again")
                        await self._begin_anew()
                        pause = AWAY_SECONDS
                    await asyncio.sleep(pause)
            finally:
                await self._begin_anew()

    async def round(self) -> float:
        """Deliver what there is; return the seconds to wait until the next round. Raises the exceptions in AWAY."""
        parts, webhook = self._parts, self.webhook
        now = parts.clock()
        delivery = await self._hold(now)
        if delivery is None:
            return LOOK_SECONDS
        if delivery.turn != webhook.turn:
            offsets = webhook.begins if delivery.turn < webhook.begun else delivery.offsets
            delivery = replace(delivery, offsets=offsets, turn=webhook.turn, failures=0, failing="", next_at=None)
        if delivery.failures >= parts.policy.attempts:
            await self._disable(f"{delivery.failures} attempts in a row failed: {delivery.last_error}")
            return LOOK_SECONDS
        if delivery.next_at is not None and delivery.next_at > now:
            return min(LOOK_SECONDS, (delivery.next_at - now).total_seconds())
        records = await self._next(delivery.offsets)
        if not records:
            return 0.0
        keys = [key for ref in webhook.secret_refs(now) if (key := await parts.secrets.get(ref)) is not None]
        if not keys:
            await self._disable(NO_SECRET)
            await self._begin_anew()
            return LOOK_SECONDS
        return await self._keep(delivery, await self._tell(records, keys))

    async def _hold(self, now: datetime) -> Delivery | None:
        """Take or extend the lease; return the stored delivery, or None while another process holds the lease."""
        if self._delivery is None or self._held_until - now < LEAST_HELD:
            parts, webhook = self._parts, self.webhook
            taken = await parts.deliveries.take(webhook.id, webhook.begins, parts.holder, now, now + LEASE)
            if taken is None:
                await self._begin_anew()
            self._delivery, self._held_until = taken, now + LEASE
        return self._delivery

    async def _next(self, offsets: Sequence[int]) -> list[Record]:
        """Return the records after these offsets as soon as there are some; none if that takes too long."""
        recent = self._parts.recent
        records = recent.after(offsets, BATCH)
        if records is None:
            return await (await self._reading(offsets)).fetch(BATCH, FETCH_SECONDS)
        await self._close()
        if not records:
            await recent.wait(FETCH_SECONDS)
            records = recent.after(offsets, BATCH)
        return records or []

    async def _reading(self, offsets: Sequence[int]) -> Reader:
        """Return a reader whose next records are those after these offsets."""
        if self._reader is None or self._read != list(offsets):
            await self._close()
            at = {TopicPartition(Topic.EVENTS, number): offset for number, offset in enumerate(offsets)}
            self._reader = await self._parts.log.reader(at, PATIENCE)
            self._read = list(offsets)
        return self._reader

    async def _close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.close()

    async def _begin_anew(self) -> None:
        self._delivery = None
        await self._close()

    async def _tell(self, records: Sequence[Record], keys: Sequence[str]) -> dict[int, Lane]:
        by_partition: dict[int, list[Record]] = defaultdict(list)
        for record in records:
            by_partition[record.partition or 0].append(record)
            if self._reader is not None:
                self._read[record.partition or 0] = record.offset + 1
        lanes = {number: Lane(own, own[0].offset) for number, own in by_partition.items()}
        until = asyncio.get_running_loop().time() + ROUND_SECONDS
        side_by_side = asyncio.Semaphore(MOST_AT_ONCE)

        async def one(lane: Lane) -> None:
            async with side_by_side:
                await self._go_along(lane, self.webhook, keys, until)

        await asyncio.gather(*map(one, lanes.values()))
        return lanes

    async def _go_along(self, lane: Lane, webhook: Webhook, keys: Sequence[str], until: float) -> None:
        interest = webhook.wanted.interest
        for record in lane.records:
            message = _message(interest, record)
            if message is not None:
                if asyncio.get_running_loop().time() > until:
                    return
                lane.last = record
                lane.outcome = await self._parts.sender.send(webhook.url, *message, keys, self._parts.clock())
                metrics.WEBHOOK_ATTEMPTS.labels("failed" if lane.outcome.error else "taken").inc()
                if lane.outcome.error:
                    return
                lane.delivered += 1
            lane.offset = record.offset + 1

    async def _keep(self, delivery: Delivery, lanes: Mapping[int, Lane]) -> float:
        parts = self._parts
        now = parts.clock()
        reached = [lanes[number].offset if number in lanes else at for number, at in enumerate(delivery.offsets)]
        count = delivery.delivered + sum(lane.delivered for lane in lanes.values())
        kept = replace(delivery, offsets=tuple(reached), delivered=count)
        failed = [lane for lane in lanes.values() if lane.failing]
        again = next((lane for lane in failed if lane.failing == delivery.failing), None)
        latest = again or next(iter(failed), None) or next((lane for lane in lanes.values() if lane.outcome), None)
        pause = 0.0
        if latest is not None and latest.outcome is not None and latest.last is not None:
            # An event that was not taken counts until it is: else a receiver that takes all but one would never be
            # disabled, and nobody would see that one.
            failures, failing = delivery.failures, delivery.failing
            if failing and _passed(failing, reached):
                failures, failing = 0, ""
            if failed and (again or not failing or count == delivery.delivered):
                failures, failing = failures + 1, failing or latest.failing
            if failed:
                pause = self._pause(failures, latest.outcome.retry_after)
            kept = replace(
                kept,
                failures=failures,
                failing=failing,
                next_at=now + timedelta(seconds=pause) if pause else None,
                last_event=cloud_event(latest.last)[0],
                last_at=now,
                last_status=latest.outcome.status,
                last_error=latest.outcome.error,
            )
        if not await parts.deliveries.keep(kept, parts.holder, now + LEASE):
            logger.warning("another process delivers to this webhook now")
            await self._begin_anew()
            return LOOK_SECONDS
        self._delivery, self._held_until = kept, now + LEASE
        if any(lane.outcome is not None and lane.outcome.gone for lane in failed):
            await self._disable("the receiver says that it is gone (410)")
        return min(pause, LOOK_SECONDS)

    def _pause(self, failures: int, retry_after: float) -> float:
        """Return the seconds to wait: doubled at each failure, up to the longest, and between half and all of that by
        chance, so that webhooks that failed together do not come back together."""
        policy = self._parts.policy
        whole = min(policy.longest_pause, policy.first_pause * 2.0 ** min(failures - 1, 60))
        return max(min(retry_after, policy.longest_pause), whole * (0.5 + self._parts.chance() / 2))

    async def _disable(self, reason: str) -> None:
        parts, webhook = self._parts, self.webhook
        command_id = derived_id(webhook.id, "disable", webhook.turn)
        logger.warning("the webhook is disabled: %s", reason)
        envelope = Envelope(
            id=command_id,
            data=DisableWebhook(reason=reason, turn=webhook.turn),
            subject=Key("webhook", webhook.id),
            time=parts.clock(),
            source=SOURCE,
            correlation=command_id,
            project=webhook.project,
        )
        await parts.log.publish([to_record(envelope, Topic.COMMANDS)])


def _passed(place: str, reached: Sequence[int]) -> bool:
    """Say whether the event at this place has been delivered."""
    _, partition, offset = place.rsplit(":", 2)
    return reached[int(partition)] > int(offset)


def _message(interest: Interest, record: Record) -> tuple[str, bytes] | None:
    """Return id and body of the message to send, or None where the webhook did not subscribe to the record."""
    try:
        return cloud_event(record) if interest.wants(record) else None
    except UNREADABLE as error:
        logger.error("%s cannot be read, and is not delivered: %s", record.place, error)
        return None


class Deliverer:
    """Runs a courier for each enabled webhook."""

    def __init__(self, parts: DeliveryParts) -> None:
        self._parts = parts
        self._couriers: dict[str, tuple[Courier, asyncio.Task[None]]] = {}
        self._forgotten: set[str] = set()
        self.status = LoopStatus()

    async def look(self) -> list[Webhook]:
        """Return the enabled webhooks; remove the deliveries of deleted ones. Raises the exceptions in AWAY."""
        found = []
        for key, row in (await self._parts.write_store.all("webhook")).items():
            webhook: Any = restored(EngineRules(), key, row).state
            if webhook.deleted is not None:
                if webhook.id not in self._forgotten:
                    await self._stop(webhook.id)
                    await self._parts.deliveries.forget(webhook.id)
                    self._forgotten.add(webhook.id)
            elif webhook.enabled:
                found.append(webhook)
        return found

    def furthest_behind(self) -> dict[TopicPartition, int]:
        """Return, per partition, the lowest offset of the webhooks to which this process delivers."""
        offsets = [courier.offsets for courier, _ in self._couriers.values() if courier.offsets]
        return {
            TopicPartition(Topic.EVENTS, number): min(each) for number, each in enumerate(zip(*offsets, strict=True))
        }

    async def run(self) -> None:
        """Keep a courier for each enabled webhook until cancelled."""
        recent = self._parts.recent.run
        reading = asyncio.create_task(every(AWAY_SECONDS, recent, name="recent-events", failures=(LogUnavailable,)))

        async def look() -> None:
            await self.arrange(await self.look())
            if reading.done():
                reading.result()

        try:
            await every(LOOK_SECONDS, look, name="webhooks", failures=AWAY, status=self.status)
        finally:
            reading.cancel()
            stopping = [self._stop(ident) for ident in list(self._couriers)]
            await asyncio.gather(reading, *stopping, return_exceptions=True)

    async def arrange(self, webhooks: Sequence[Webhook]) -> None:
        """Run a courier for each of these webhooks, and for no other.

        Raises what a courier ended by; a failure of one webhook never ends its courier.
        """
        for ident in self._couriers.keys() - {each.id for each in webhooks}:
            await self._stop(ident)
        for webhook in webhooks:
            if webhook.id in self._couriers:
                courier, task = self._couriers[webhook.id]
                courier.webhook = webhook
                if task.done():
                    task.result()
            else:
                courier = Courier(self._parts, webhook)
                self._couriers[webhook.id] = courier, asyncio.create_task(courier.run())

    async def _stop(self, ident: str) -> None:
        courier, task = self._couriers.pop(ident, (None, None))
        if courier is None or task is None:
            return
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        try:
            await self._parts.deliveries.leave(ident, self._parts.holder)
        except DeliveriesUnavailable as error:
            with log_context.bound(webhook=ident):
                logger.warning("the webhook stays leased until the lease ends: %s", error)
