"""Webhooks: each is told of the events that it wants, in the order of the log, at least once.

One at a time tells a webhook, by a lease; any number of processes may try. It reads the log from where the webhook has
got to. Partitions are told side by side, since between them there is no order, and each in its own: so what is about
one subject comes in order. An event that is not taken holds up what follows in its partition, and the webhook waits,
each time longer; when it was not taken so many times, the webhook is disabled by a command, for a reason that is shown.

The position moves after the answer came. Whoever dies in between leaves events that are sent again, with the same id.
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
from commands.processor import restored
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
"""Between two looks at what webhooks there are."""
LEASE = timedelta(seconds=60)
LEAST_HELD = timedelta(seconds=45)
"""Of a lease at the beginning of a round."""
ROUND_SECONDS = 20.0
"""A round begins no attempt after this long: together with the longest attempt it ends within the lease."""
MOST_AT_ONCE = 4
"""Attempts for one webhook."""
BATCH = 200
FETCH_SECONDS = 1.0
PATIENCE = 0.2
AWAY_SECONDS = 5.0
NO_SECRET = "its secret is lost: give it a new one (gs webhook update --new-secret), then retry"
AWAY = (LogUnavailable, DeliveriesUnavailable, SecretsUnavailable, WriteStoreUnavailable)


@dataclass(frozen=True)
class DeliveryParts:
    """What webhooks are told with."""

    log: Log
    write_store: WriteStore
    """The engine's: which webhooks there are."""
    deliveries: Deliveries
    secrets: SecretStore
    sender: Sender
    policy: Policy
    clock: Callable[[], datetime]
    recent: Recent
    holder: str
    """This process, among those that hold leases."""
    chance: Callable[[], float] = random.random


@dataclass
class Lane:
    """One partition's events of a round."""

    records: Sequence[Record]
    offset: int
    delivered: int = 0
    last: Record | None = None
    outcome: SendResult | None = None

    @property
    def failing(self) -> str:
        """The place that it stands at, if the last attempt failed."""
        if self.last is None or self.outcome is None or not self.outcome.error:
            return ""
        return self.last.place


class Courier:
    """Tells one webhook."""

    def __init__(self, parts: DeliveryParts, webhook: Webhook) -> None:
        self._parts = parts
        self.webhook = webhook
        """As it is now; whoever runs this keeps it so."""
        self._delivery: Delivery | None = None
        """As it is kept, while this holds it."""
        self._held_until = datetime.min.replace(tzinfo=UTC)
        self._reader: Reader | None = None
        self._read: list[int] = []
        """What the reader gives next."""

    @property
    def offsets(self) -> tuple[int, ...]:
        """How far the webhook has been told; empty while another tells it."""
        return self._delivery.offsets if self._delivery is not None else ()

    async def run(self) -> None:
        """Until cancelled. What is away is waited for."""
        with log_context.bound(webhook=self.webhook.id):
            try:
                while True:
                    try:
                        pause = await self.round()
                    except Exception as error:
                        # What nobody foresaw is of this webhook alone, too: the others are told.
                        if isinstance(error, AWAY):
                            logger.warning("trying again: %s", error)
                        else:
                            logger.exception("trying again")
                        await self._begin_anew()
                        pause = AWAY_SECONDS
                    await asyncio.sleep(pause)
            finally:
                await self._begin_anew()

    async def round(self) -> float:
        """What is there is told; seconds to wait until the next round. Raises what is in AWAY."""
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
        """How far the webhook has been told; None while another tells it."""
        if self._delivery is None or self._held_until - now < LEAST_HELD:
            parts, webhook = self._parts, self.webhook
            taken = await parts.deliveries.take(webhook.id, webhook.begins, parts.holder, now, now + LEASE)
            if taken is None:
                await self._begin_anew()
            self._delivery, self._held_until = taken, now + LEASE
        return self._delivery

    async def _next(self, offsets: Sequence[int]) -> list[Record]:
        """What follows these offsets, as soon as there is something; none if that takes too long."""
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
        """A reader that gives what follows these offsets next."""
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
            logger.warning("another tells it now")
            await self._begin_anew()
            return LOOK_SECONDS
        self._delivery, self._held_until = kept, now + LEASE
        if any(lane.outcome is not None and lane.outcome.gone for lane in failed):
            await self._disable("the receiver says that it is gone (410)")
        return min(pause, LOOK_SECONDS)

    def _pause(self, failures: int, retry_after: float) -> float:
        """Seconds: doubled at each failure, up to the longest, and between half and all of that by chance, so that
        those who failed together do not come back together."""
        policy = self._parts.policy
        whole = min(policy.longest_pause, policy.first_pause * 2.0 ** min(failures - 1, 60))
        return max(min(retry_after, policy.longest_pause), whole * (0.5 + self._parts.chance() / 2))

    async def _disable(self, reason: str) -> None:
        parts, webhook = self._parts, self.webhook
        command_id = derived_id(webhook.id, "disable", webhook.turn)
        logger.warning("it is disabled: %s", reason)
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
    """Whether the event at this place is done."""
    _, partition, offset = place.rsplit(":", 2)
    return reached[int(partition)] > int(offset)


def _message(interest: Interest, record: Record) -> tuple[str, bytes] | None:
    """Id and body of what is to be sent; None where the record is not wanted."""
    try:
        return cloud_event(record) if interest.wants(record) else None
    except UNREADABLE as error:
        logger.error("%s cannot be read, and is not told: %s", record.place, error)
        return None


class Deliverer:
    """Tells all webhooks."""

    def __init__(self, parts: DeliveryParts) -> None:
        self._parts = parts
        self._couriers: dict[str, tuple[Courier, asyncio.Task[None]]] = {}
        self._forgotten: set[str] = set()
        self.status = LoopStatus()

    async def look(self) -> list[Webhook]:
        """The webhooks that are to be told. What is of those that are gone is forgotten. Raises what is in AWAY."""
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
        """Of the webhooks that are told here, per partition, where the last of them is."""
        offsets = [courier.offsets for courier, _ in self._couriers.values() if courier.offsets]
        return {
            TopicPartition(Topic.EVENTS, number): min(each) for number, each in enumerate(zip(*offsets, strict=True))
        }

    async def run(self) -> None:
        """Until cancelled."""
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
        """A courier for each of these, and for no other. Raises what a courier ended by, which nothing does that one
        webhook brings about."""
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
                logger.warning("it is held until the lease ends: %s", error)
