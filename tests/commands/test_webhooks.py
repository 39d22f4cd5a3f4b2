"""Webhooks are told of events: at least once, in order, from where they had got to, whoever dies meanwhile.

The receiver is real, on a socket; the world and its clock are in memory.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from commands.reconcilers.webhooks import LOOK_SECONDS, Courier, Deliverer, DeliveryParts
from domain.core.messages import Key, Record, Topic, derived_id
from domain.flavor import CreateFlavor
from domain.webhook import (
    CreateWebhook,
    DeleteWebhook,
    RetryWebhook,
    UpdateWebhook,
    Wanted,
    Webhook,
)
from infra.log.recent import Recent
from infra.process.settings import Webhooks as Policy
from infra.webhooks.memory import MemoryDeliveries
from infra.webhooks.sender import Sender, new_secret
from tests.harness.metrics import counted
from tests.harness.nonsense import NONSENSE
from tests.harness.receiver import REFUSED, SILENT, TAKEN, Message, Receiver, receiving
from tests.harness.world import World
from tests.infra.test_sender import HASTY, PATIENT, TRUSTING_NOBODY

SEED = "5a3f7c0b-8a07-5f0e-8e41-0f6c6a1d2e33"
HOOK = Key("webhook", derived_id(SEED, "hook"))
POLICY = Policy(allow_private=True, attempts=4, first_pause=10.0, longest_pause=60.0)
BEGINNING = (0,) * 12


class Telling:
    """A world with a webhook, and whoever tells it."""

    def __init__(self, world: World, receiver: Receiver, sender: Sender) -> None:
        self.world = world
        self.receiver = receiver
        self.deliveries = MemoryDeliveries()
        self.parts = DeliveryParts(
            world.log,
            world.engine_write_store,
            self.deliveries,
            world.secrets,
            sender,
            POLICY,
            world.clock,
            Recent(world.log, Topic.EVENTS),
            "here",
            chance=lambda: 1.0,
        )

    async def hook(self, begins: tuple[int, ...] = BEGINNING, **wanted: Any) -> Courier:
        """The webhook, and who tells it."""
        await self.world.secrets.put("secret", f"webhook/{HOOK.id}", new_secret())
        command = CreateWebhook(
            name="hook", url=self.receiver.url, wanted=Wanted(**wanted), begins=begins, secret_ref="secret"
        )
        assert (await self.world.send(HOOK, command))["verdict"] == "accepted"
        return await self.courier()

    async def courier(self, holder: str = "here") -> Courier:
        """Another, who knows nothing of the one before."""
        return Courier(replace(self.parts, holder=holder), await self.now())

    async def now(self) -> Webhook:
        (webhook,) = await Deliverer(self.parts).look()
        return webhook

    async def flavors(self, *names: str) -> None:
        for name in names:
            key = Key("flavor", derived_id(SEED, name))
            await self.world.send(key, CreateFlavor(name=name, core=1, memory=1))

    def names(self, messages: list[Message] | None = None) -> list[str]:
        return [each.event["data"]["name"] for each in (self.receiver.got if messages is None else messages)]

    async def kept(self) -> Any:
        return (await self.deliveries.get([HOOK.id])).get(HOOK.id)


FLAVORS: dict[str, Any] = {"types": ("gostack.flavor.*",)}


@pytest.fixture
async def telling(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Telling]:
    monkeypatch.setattr("commands.reconcilers.webhooks.FETCH_SECONDS", 0.0)
    world = World()
    await world.start()
    sender = Sender(PATIENT, allow_private=True, tls=TRUSTING_NOBODY)
    async with receiving() as receiver:
        yield Telling(world, receiver, sender)
    await sender.close()


async def test_it_is_told_what_it_wants_and_nothing_else(telling: Telling) -> None:
    await telling.flavors("before")
    end = tuple(each for _, (_, each) in sorted((await telling.world.log.bounds([Topic.EVENTS])).items()))
    courier = await telling.hook(end, **FLAVORS)
    await telling.world.host("h1")
    await telling.flavors("a", "b")
    await courier.round()
    assert sorted(telling.names()) == ["a", "b"]
    kept = await telling.kept()
    assert (kept.delivered, kept.failures, kept.last_status, kept.last_error) == (2, 0, 204, "")
    assert sum(kept.offsets) == len(telling.world.log.all(Topic.EVENTS))
    await courier.round()
    assert len(telling.receiver.got) == 2


@pytest.mark.parametrize("wanted", [{"actor": "ann"}, {"project_id": "p"}, {"subject": f"flavor/{SEED}"}])
async def test_each_filter_holds(telling: Telling, wanted: dict[str, Any]) -> None:
    courier = await telling.hook(**wanted)
    await telling.flavors("other")
    own = Key("flavor", SEED)
    await telling.world.send(own, CreateFlavor(name="own", core=1, memory=1), actor="ann", project="p")
    await courier.round()
    assert telling.names() == ["own"]


async def test_what_is_about_one_subject_comes_in_order_though_the_receiver_fails_now_and_then(
    telling: Telling,
) -> None:
    courier = await telling.hook()
    for number in range(4):
        await telling.world.host(f"h{number}")
        await telling.flavors(f"f{number}")
    failed: set[str] = set()

    def sometimes(message: Message) -> str:
        if int(message.id[:8], 16) % 3 == 0 and message.id not in failed:
            failed.add(message.id)
            return REFUSED
        return TAKEN

    telling.receiver.answer = sometimes
    ends = sum(end for _, end in (await telling.world.log.bounds([Topic.EVENTS])).values())
    for _ in range(60):
        await courier.round()
        telling.world.now += timedelta(minutes=2)
        if sum((await telling.kept()).offsets) == ends:
            break
    got = [(each.event["subject"], each.event["aggversion"]) for each in telling.receiver.got]
    last: dict[str, int] = {}
    for subject, version in got:
        assert version in (last.get(subject, 0), last.get(subject, 0) + 1)
        last[subject] = version
    assert len(set(got)) == ends


async def test_what_was_not_taken_is_sent_again_under_the_same_id_each_time_later(telling: Telling) -> None:
    courier = await telling.hook(**FLAVORS)
    await telling.flavors("a")
    telling.receiver.answer = lambda message: REFUSED
    pauses = []
    before = attempts()
    for attempt in range(1, 4):
        await courier.round()
        kept = await telling.kept()
        assert (kept.failures, kept.last_status, kept.last_error) == (attempt, 500, "it answers 500")
        pauses.append((kept.next_at - kept.last_at).total_seconds())
        await courier.round()
        assert len(telling.receiver.got) == attempt
        telling.world.now = kept.next_at
    assert pauses == [10.0, 20.0, 40.0]
    telling.receiver.answer = lambda message: TAKEN
    await courier.round()
    kept = await telling.kept()
    assert (kept.delivered, kept.failures, kept.next_at, kept.last_error) == (1, 0, None, "")
    assert len({each.id for each in telling.receiver.got}) == 1
    assert telling.names() == ["a"] * 4
    assert [count - was for count, was in zip(attempts(), before, strict=True)] == [3, 1]


def attempts() -> list[float]:
    """How many failed, and how many were taken."""
    return [counted("gostack_webhook_attempts_total", result=each) for each in ("failed", "taken")]


@pytest.mark.parametrize("answer", [SILENT, REFUSED])
async def test_one_that_never_takes_it_is_disabled_and_says_why(telling: Telling, answer: str) -> None:
    hasty = Sender(HASTY, allow_private=True, tls=TRUSTING_NOBODY)
    patient, telling.parts = (
        telling.parts,
        replace(telling.parts, sender=hasty if answer == SILENT else telling.parts.sender),
    )
    courier = await telling.hook(**FLAVORS)
    await telling.flavors("a", "b")
    telling.receiver.answer = lambda message: answer
    for _ in range(20):
        await courier.round()
        telling.world.now += timedelta(minutes=2)
        await telling.world.settle()
    shown = await telling.world.document("webhooks", HOOK.id)
    assert shown["status"] == "disabled"
    assert shown["reason"].startswith("4 attempts in a row failed: ")
    assert ("500" in shown["reason"]) is (answer == REFUSED)
    if answer == REFUSED:
        attempts = [each.id for each in telling.receiver.got]
        assert max(attempts.count(each) for each in attempts) == POLICY.attempts
    assert await Deliverer(telling.parts).look() == []

    await hasty.close()
    telling.parts = patient
    telling.receiver.answer = lambda message: TAKEN
    await telling.world.send(HOOK, RetryWebhook())
    shown = await telling.world.document("webhooks", HOOK.id)
    assert (shown["status"], shown["reason"]) == ("enabled", "")
    await (await telling.courier()).round()
    assert sorted(telling.names(telling.receiver.got[-2:])) == ["a", "b"]


async def test_one_event_that_is_never_taken_disables_it_though_others_are(telling: Telling) -> None:
    courier = await telling.hook(**FLAVORS)
    telling.receiver.answer = lambda message: REFUSED if message.event["data"]["name"] == "bad" else TAKEN
    await telling.flavors("bad")
    for number in range(20):
        await telling.flavors(f"good{number}")
        await courier.round()
        telling.world.now += timedelta(minutes=2)
    assert (await telling.world.document("webhooks", HOOK.id))["status"] == "disabled"


async def test_one_that_is_down_is_disabled_however_much_waits_for_it(
    telling: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    courier = await telling.hook(**FLAVORS)
    await telling.flavors(*(f"f{number}" for number in range(30)))
    telling.receiver.answer = lambda message: REFUSED
    # Each time another share of what waits comes first.
    for batch in (1, 40, 2, 40, 3):
        monkeypatch.setattr("commands.reconcilers.webhooks.BATCH", batch)
        await courier.round()
        telling.world.now += timedelta(minutes=2)
    await telling.world.settle()
    assert (await telling.world.document("webhooks", HOOK.id))["status"] == "disabled"
    assert (await telling.kept()).failures == POLICY.attempts


async def test_a_receiver_that_is_gone_is_not_asked_again(telling: Telling) -> None:
    courier = await telling.hook(**FLAVORS)
    await telling.flavors("a")
    telling.receiver.answer = lambda message: "410 Gone"
    await courier.round()
    await telling.world.settle()
    shown = await telling.world.document("webhooks", HOOK.id)
    assert (shown["status"], "gone" in shown["reason"]) == ("disabled", True)


async def test_a_receiver_that_asks_for_time_has_it(telling: Telling) -> None:
    courier = await telling.hook(**FLAVORS)
    await telling.flavors("a")
    telling.receiver.answer = lambda message: "503 Busy\r\nRetry-After: 33"
    await courier.round()
    kept = await telling.kept()
    assert (kept.next_at - kept.last_at).total_seconds() == 33.0
    telling.world.now = kept.next_at
    telling.receiver.answer = lambda message: "503 Busy\r\nRetry-After: 9999"
    await courier.round()
    kept = await telling.kept()
    assert (kept.next_at - kept.last_at).total_seconds() == POLICY.longest_pause


async def test_one_that_dies_in_the_middle_is_followed_by_one_that_sends_it_again(telling: Telling) -> None:
    courier = await telling.hook(**FLAVORS)
    await telling.flavors("a")
    await courier.round()
    await telling.flavors("b")
    telling.receiver.answer = lambda message: SILENT
    dying = asyncio.create_task(courier.round())
    await telling.receiver.wait(2)
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    telling.receiver.answer = lambda message: TAKEN
    # The lease of the one that died stands for a while.
    other = await telling.courier("there")
    await other.round()
    assert len(telling.receiver.got) == 2
    telling.world.now += timedelta(minutes=2)
    await other.round()
    assert telling.names() == ["a", "b", "b"]
    assert telling.receiver.got[1].id == telling.receiver.got[2].id
    assert (await telling.kept()).delivered == 2


async def test_one_that_stood_still_does_not_set_the_position_back(telling: Telling) -> None:
    courier = await telling.hook(**FLAVORS)
    await telling.flavors("a")
    telling.receiver.answer = lambda message: SILENT
    slow = asyncio.create_task(courier.round())
    await telling.receiver.wait(1)
    telling.world.now += timedelta(minutes=2)
    telling.receiver.answer = lambda message: TAKEN
    other = await telling.courier("there")
    await other.round()
    after = await telling.kept()
    telling.receiver.let_go.set()
    await slow
    assert await telling.kept() == after
    assert (after.delivered, after.failures) == (1, 0)


async def test_a_change_holds_from_the_next_round_on(telling: Telling) -> None:
    courier = await telling.hook(**FLAVORS)
    await telling.flavors("a")
    telling.receiver.answer = lambda message: REFUSED
    await courier.round()
    async with receiving() as elsewhere:
        await telling.world.send(HOOK, UpdateWebhook(url=elsewhere.url))
        courier.webhook = await telling.now()
        await courier.round()
        assert telling.names(elsewhere.got) == ["a"]
    assert len(telling.receiver.got) == 1


async def test_a_new_secret_signs_and_the_one_before_goes_on_for_a_day(telling: Telling) -> None:
    courier = await telling.hook(**FLAVORS)
    await telling.world.secrets.put("newer", f"webhook/{HOOK.id}", new_secret())
    await telling.world.send(HOOK, UpdateWebhook(secret_ref="newer"))
    courier.webhook = await telling.now()
    await telling.flavors("a")
    await courier.round()
    telling.world.now += timedelta(days=2)
    await telling.flavors("b")
    await courier.round()
    first, second = (each.headers["webhook-signature"].split(" ") for each in telling.receiver.got)
    assert (len(first), len(second)) == (2, 1)


async def test_without_its_secret_nothing_is_sent(telling: Telling) -> None:
    courier = await telling.hook(**FLAVORS)
    await telling.world.secrets.forget([f"webhook/{HOOK.id}"])
    await telling.flavors("a")
    await courier.round()
    await telling.world.settle()
    shown = await telling.world.document("webhooks", HOOK.id)
    assert (shown["status"], "--new-secret" in shown["reason"]) == ("disabled", True)
    assert telling.receiver.got == []


async def test_it_goes_on_where_it_is_asked_to_once(telling: Telling) -> None:
    courier = await telling.hook(**FLAVORS)
    await telling.flavors("a")
    await courier.round()
    here = (await telling.kept()).offsets
    await telling.flavors("b")
    await courier.round()
    for begins, told in ((here, ["b"]), (BEGINNING, ["a", "b"]), (None, [])):
        telling.receiver.got.clear()
        await telling.world.send(HOOK, RetryWebhook(begins=begins))
        courier.webhook = await telling.now()
        await courier.round()
        await courier.round()
        assert sorted(telling.names()) == told
        # Whoever begins anew finds it there.
        await (await telling.courier()).round()
        assert sorted(telling.names()) == told


async def test_one_whose_place_was_lost_goes_on_where_it_was_asked_to_last(telling: Telling) -> None:
    await telling.hook(**FLAVORS)
    await telling.flavors("a")
    await (await telling.courier()).round()
    here = (await telling.kept()).offsets
    await telling.world.send(HOOK, RetryWebhook(begins=here))
    await telling.world.send(HOOK, RetryWebhook())
    await telling.deliveries.forget(HOOK.id)
    await telling.flavors("b")
    await (await telling.courier()).round()
    assert telling.names() == ["a", "b"]


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE)
@pytest.mark.parametrize("wanted", [{}, FLAVORS], ids=["all", "flavors"])
async def test_what_cannot_be_read_holds_up_nothing(telling: Telling, nonsense: Record, wanted: dict[str, Any]) -> None:
    courier = await telling.hook(**wanted)
    await telling.world.log.publish([replace(nonsense, partition=n) for n in range(12)])
    await telling.flavors("a")
    await courier.round()
    kept = await telling.kept()
    assert (sum(kept.offsets), kept.failures) == (len(telling.world.log.all(Topic.EVENTS)), 0)
    # A receiver could read all that it was told.
    told = [each.event["data"] for each in telling.receiver.got if each.event["type"].startswith("gostack.flavor.")]
    assert [each["name"] for each in told] == ["a"]


async def test_all_webhooks_are_told_and_what_is_deleted_is_forgotten(telling: Telling) -> None:
    await telling.hook(**FLAVORS)
    await telling.flavors("a")
    deliverer = Deliverer(telling.parts)
    running = asyncio.create_task(deliverer.run())
    await telling.receiver.wait(1)
    await telling.world.send(HOOK, DeleteWebhook())
    async with asyncio.timeout(20):
        while await telling.kept() is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await telling.flavors("b")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert telling.names() == ["a"]


async def test_what_goes_wrong_with_one_keeps_nobody_from_telling_the_others(
    telling: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    await telling.hook(**FLAVORS)
    command = CreateWebhook(
        name="odd", url=telling.receiver.url, wanted=Wanted(**FLAVORS), begins=BEGINNING, secret_ref="odd"
    )
    await telling.world.send(Key("webhook", derived_id(SEED, "odd")), command)
    get = telling.world.secrets.get

    async def odd(ref: str) -> str | None:
        if ref == "odd":
            raise LookupError("nobody foresaw this")
        return await get(ref)

    monkeypatch.setattr(telling.world.secrets, "get", odd)
    running = asyncio.create_task(Deliverer(telling.parts).run())
    for number, name in enumerate(("a", "b"), 1):
        await telling.flavors(name)
        await telling.receiver.wait(number)
        # Time enough for a look at whether all couriers are there.
        await asyncio.sleep(LOOK_SECONDS)
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert telling.names() == ["a", "b"]


async def test_who_ends_in_good_order_leaves_it_to_others_at_once(telling: Telling) -> None:
    await telling.hook(**FLAVORS)
    await telling.flavors("a")
    running = asyncio.create_task(Deliverer(telling.parts).run())
    await telling.receiver.wait(1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await telling.flavors("b")
    await (await telling.courier("there")).round()
    assert telling.names()[-1] == "b"


async def test_many_that_wait_at_the_end_read_the_log_once(telling: Telling, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = 0
    reader = telling.world.log.reader

    async def counted(*given: Any) -> Any:
        nonlocal opened
        opened += 1
        return await reader(*given)

    monkeypatch.setattr("commands.reconcilers.webhooks.FETCH_SECONDS", 0.05)
    for number in range(5):
        key = Key("webhook", derived_id(SEED, number))
        await telling.world.secrets.put(key.id, f"webhook/{key.id}", new_secret())
        command = CreateWebhook(
            name=str(number), url=telling.receiver.url, wanted=Wanted(**FLAVORS), begins=BEGINNING, secret_ref=key.id
        )
        await telling.world.send(key, command)
    await telling.flavors("old")
    running = asyncio.create_task(Deliverer(telling.parts).run())
    await telling.receiver.wait(5)
    monkeypatch.setattr(telling.world.log, "reader", counted)
    for number in range(10):
        await telling.flavors(f"new{number}")
        await telling.receiver.wait(5 + 5 * (number + 1))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert opened <= 5
    assert sorted(telling.names()) == sorted(["old", *(f"new{number}" for number in range(10))] * 5)
