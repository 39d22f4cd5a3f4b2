"""Webhooks through the API: made, shown, changed, tested; their secret told once and on no log."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from api.reads import stream_cursor
from api.resources.webhooks import OWNER
from api.writes import secret_sweep
from commands.reconcilers.webhooks import Courier, Deliverer, DeliveryParts
from domain.core.messages import Topic
from infra.log.recent import Recent
from tests.api.api import Api, behind
from tests.api.served import on_a_socket
from tests.harness.receiver import REFUSED, SILENT, TAKEN, Receiver, is_signed, receiving
from tests.harness.waiting import until

FAR = "https://hooks.example.com/gostack"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


def parts(api: Api) -> DeliveryParts:
    """All that tells webhooks, beside this API."""
    services = api.services
    return DeliveryParts(
        services.log,
        services.deciding["engine"],
        services.deliveries,
        services.secrets,
        services.sender,
        services.settings.webhooks,
        services.clock,
        Recent(services.log, Topic.EVENTS),
        "here",
    )


async def test_a_webhook_is_made_told_shown_and_deleted(api: Api, receiver: Receiver) -> None:
    made = await api.post("/webhooks", {"name": "hook", "url": receiver.url, "wanted": {"types": ["instance.*"]}})
    assert made["status"] == "enabled"
    assert made["wanted"]["types"] == ["gostack.instance.*"]
    secret = made.pop("secret")
    made["delivery"] = None
    assert await api.get("/webhooks/hook") == made
    assert (await api.get("/webhooks"))["webhooks"] == [made]
    assert (await api.get("/webhooks", status="disabled"))["webhooks"] == []
    async with behind(Deliverer(parts(api)).run()):
        web = await api.booted("web")
        shown = await shown_as(api, lambda hook: hook["delivery"] and hook["delivery"]["delivered"] >= 1)
    message = receiver.got[0]
    assert message.event["subject"] == f"instance/{web['id']}"
    assert message.event["data"]["name"] == "web"
    assert is_signed(secret, message.headers, message.body)
    assert (await api.get("/webhooks", fields="name,delivery"))["webhooks"][0].keys() == {"name", "delivery"}
    delivery = shown["delivery"]
    assert (delivery["failures"], delivery["last_status"], delivery["last_error"]) == (0, 204, None)
    assert len(stream_cursor.decode(delivery["position"])) == 12
    await api.delete("/webhooks/hook")
    await api.get("/webhooks/hook", 404)
    assert (await api.get("/webhooks", deleted="true"))["webhooks"][0]["id"] == made["id"]


async def test_a_secret_is_told_once_and_stands_nowhere(api: Api) -> None:
    answer = await api.http.post("/v1/webhooks", json={"name": "hook", "url": FAR}, headers={"Idempotency-Key": "k"})
    secret = answer.json()["secret"]
    assert secret.startswith("whsec_")
    again = await api.http.post("/v1/webhooks", json={"name": "hook", "url": FAR}, headers={"Idempotency-Key": "k"})
    assert again.json()["secret"] == secret, "to the same request, for a day"
    assert again.json()["id"] == answer.json()["id"]
    renewed = await api.patch("/webhooks/hook", {"new_secret": True})
    assert renewed["secret"] not in ("", secret)
    assert renewed["secret_changed"] > answer.json()["secret_changed"]
    for path in ("/webhooks", "/webhooks/hook", "/events?limit=1000"):
        text = (await api.http.get(f"/v1{path}")).text
        assert "whsec_" not in text
        assert secret not in text
    for topic in (Topic.COMMANDS, Topic.EVENTS):
        assert all(b"whsec_" not in record.value for record in api.world.log.all(topic))


async def test_no_more_than_two_secrets_of_a_webhook_are_kept(api: Api) -> None:
    made = await api.post("/webhooks", {"name": "hook", "url": FAR})
    refs = []
    for _ in range(4):
        await api.patch("/webhooks/hook", {"new_secret": True})
        (webhook,) = await Deliverer(parts(api)).look()
        refs.append(webhook.secret_ref)
        assert webhook.id == made["id"]
    kept = [await api.services.secrets.get(ref) is not None for ref in refs]
    assert kept == [False, False, True, True]


async def test_a_webhook_is_changed_field_by_field(api: Api) -> None:
    wanted = {"types": ["task.*"], "actor": "ann"}
    await api.post("/webhooks", {"name": "hook", "url": FAR, "wanted": wanted, "description": "d"})
    changed = await api.patch("/webhooks/hook", {"wanted": {"types": ["host.*"]}, "name": "other"})
    assert changed["wanted"] == {
        "types": ["gostack.host.*"],
        "actor": "ann",
        "subject": "",
        "project_id": "",
        "task": "",
    }
    assert (changed["name"], changed["description"], changed["url"]) == ("other", "d", FAR)
    cleared = await api.patch("/webhooks/other", {"wanted": {"types": [], "actor": ""}})
    assert (cleared["wanted"]["types"], cleared["wanted"]["actor"]) == ([], "")
    stale = await api.http.patch("/v1/webhooks/other", json={"name": "x"}, headers={"If-Match": '"1"'})
    assert stale.status_code == 412


async def test_what_a_task_leads_to_is_told_as_lists_have_it(api: Api, receiver: Receiver) -> None:
    given = await api.boot(count=2)
    await api.world.settle()
    one = given["instances"][0]
    body = {"name": "hook", "url": receiver.url, "wanted": {"task": one["task_id"]}, "from": "beginning"}
    made = await api.post("/webhooks", body)
    assert (made["wanted"]["task"], made["wanted"]["subject"]) == (one["task_id"], "")
    async with behind(Deliverer(parts(api)).run()):
        expected = (await api.get("/events", task=one["task_id"], limit=1000))["events"]
        await receiver.wait(len(expected))
    assert sorted(each.id for each in receiver.got) == sorted(event["id"] for event in expected)
    assert {event["subject"].partition("/")[0] for event in expected} == {"instance", "host", "network"}


async def test_a_webhook_of_a_task_that_is_none(api: Api) -> None:
    body = {"name": "hook", "url": FAR, "wanted": {"task": "none"}}
    assert (await api.post("/webhooks", body, 404))["values"] == {"kind": "task", "id": "none"}
    await api.post("/webhooks", {"name": "hook", "url": FAR})
    assert (await api.patch("/webhooks/hook", {"wanted": {"task": "none"}}, 404))["code"] == "not-found"
    changed = await api.patch("/webhooks/hook", {"wanted": {"task": "", "actor": "ann"}})
    assert changed["wanted"]["task"] == ""


async def test_where_a_webhook_begins(api: Api, receiver: Receiver) -> None:
    feed = api.app.state.feed
    here = stream_cursor.encode(await feed.start("now"))
    await api.post("/zones", {"name": "a"})
    await api.world.settle()
    api.world.now += timedelta(minutes=10)
    since = api.world.now.isoformat()
    await api.post("/zones", {"name": "b"})
    await api.world.settle()
    wanted = {"types": ["zone.created.*"]}
    for name, begin, expected in (
        ("1", {"from": "beginning"}, ["default", "a", "b"]),
        ("2", {"from": here}, ["a", "b"]),
        ("3", {"since": since}, ["b"]),
        ("4", {}, []),
    ):
        receiver.got.clear()
        await api.post("/webhooks", {"name": name, "url": receiver.url, "wanted": wanted, **begin})
        (webhook,) = [each for each in await Deliverer(parts(api)).look() if each.name == name]
        await Courier(replace(parts(api), holder=name), webhook).round()
        assert sorted(each.event["data"]["name"] for each in receiver.got) == sorted(expected)


async def test_a_test_says_what_the_endpoint_said(api: Api, receiver: Receiver) -> None:
    await api.post("/webhooks", {"name": "hook", "url": receiver.url})
    before = len(api.world.log.all(Topic.EVENTS))
    told = await api.post("/webhooks/hook/test", {}, 200)
    assert (told["delivered"], told["status"], told["error"]) == (True, 204, None)
    (message,) = receiver.got
    assert (message.id, message.event["type"]) == (told["event_id"], "gostack.webhook.tested.v1")
    receiver.answer = lambda message: REFUSED
    told = await api.post("/webhooks/hook/test", {}, 200)
    assert (told["delivered"], told["status"], told["error"]) == (False, 500, "it answers 500")
    assert len(api.world.log.all(Topic.EVENTS)) == before
    await api.post("/webhooks/none/test", {}, 404)


async def test_tests_under_way_are_bounded(api: Api, receiver: Receiver) -> None:
    receiver.answer = lambda message: SILENT
    await api.post("/webhooks", {"name": "hook", "url": receiver.url})
    api.app.state.webhook_tests.most = 3
    testing = [asyncio.create_task(api.http.post("/v1/webhooks/hook/test")) for _ in range(10)]
    await until(lambda: sum(task.done() for task in testing) == 7)
    refused = [task.result() for task in testing if task.done()]
    assert {(each.status_code, each.json()["code"]) for each in refused} == {(429, "overloaded")}
    receiver.let_go.set()
    answers = await asyncio.gather(*testing)
    assert sorted(each.status_code for each in answers) == [200] * 3 + [429] * 7
    assert len(receiver.got) == 3
    assert api.app.state.webhook_tests.now == 0


async def test_a_webhook_to_the_api_itself_does_not_multiply(api: Api) -> None:
    refused = await api.post("/webhooks", {"name": "hook", "url": "http://127.0.0.1:7480/v1/webhooks/hook/test"}, 422)
    assert refused["values"]["field"] == "url"
    assert "GoStack's own" in refused["detail"]
    asked: list[str] = []

    async def counted(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope["path"])
        await api.app(scope, receive, send)

    # At a port that no setting names, as behind a proxy.
    async with on_a_socket(counted) as url:
        await api.post("/webhooks", {"name": "hook", "url": f"{url}/v1/webhooks/hook/test"})
        told = await api.post("/webhooks/hook/test", {}, 200)
        assert (told["delivered"], told["status"]) == (False, 403)
    assert len(asked) == 1


async def test_a_disabled_webhook_says_why_and_is_retried(api: Api, receiver: Receiver) -> None:
    api.services.settings.webhooks = api.services.settings.webhooks.model_copy(
        update={"attempts": 2, "first_pause": 0.001}
    )
    receiver.answer = lambda message: REFUSED
    await api.post("/webhooks", {"name": "hook", "url": receiver.url, "wanted": {"types": ["zone.*"]}})
    async with behind(Deliverer(parts(api)).run()):
        await api.post("/zones", {"name": "a"})
        shown = await shown_as(api, lambda hook: hook["status"] == "disabled")
        assert "it answers 500" in shown["reason"]
        assert shown["delivery"]["last_status"] == 500
        receiver.answer = lambda message: TAKEN
        retried = await api.post("/webhooks/hook/retry", {}, 200)
        assert (retried["status"], retried["reason"]) == ("enabled", "")
        shown = await shown_as(api, lambda hook: hook["delivery"]["delivered"] == 1)
    assert (shown["delivery"]["failures"], shown["delivery"]["last_error"]) == (0, None)
    assert len({each.id for each in receiver.got}) == 1
    assert len(receiver.got) == 3


async def test_where_a_webhook_goes_on(api: Api, receiver: Receiver) -> None:
    wanted = {"types": ["zone.created.*"]}
    await api.post("/webhooks", {"name": "hook", "url": receiver.url, "wanted": wanted})
    here = stream_cursor.encode(await api.app.state.feed.start("now"))
    await api.post("/zones", {"name": "a"})
    api.world.now += timedelta(minutes=10)
    since = api.world.now.isoformat()
    await api.post("/zones", {"name": "b"})
    await api.world.settle()
    bodies: list[tuple[Any, list[str]]] = [
        ({}, ["a", "b"]),
        ({}, []),
        ({"from": "beginning"}, ["default", "a", "b"]),
        ({"from": here}, ["a", "b"]),
        ({"since": since}, ["b"]),
        ({"from": "now"}, []),
        (None, []),
    ]
    for body, expected in bodies:
        receiver.got.clear()
        assert (await api.post("/webhooks/hook/retry", body, 200))["status"] == "enabled"
        (webhook,) = await Deliverer(parts(api)).look()
        await Courier(parts(api), webhook).round()
        assert sorted(each.event["data"]["name"] for each in receiver.got) == sorted(expected)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"from": "x"}, "now or beginning"),
        ({"from": "x" * 9999}, "from"),
        ({"since": "soon"}, "how long ago"),
        ({"from": "now", "since": "1h"}, "without from"),
        ({"to": "now"}, "no such field"),
    ],
)
async def test_where_a_webhook_cannot_go_on(api: Api, body: dict[str, Any], says: str) -> None:
    await api.post("/webhooks", {"name": "hook", "url": FAR})
    assert says in (await api.post("/webhooks/hook/retry", body, 422))["detail"]


async def shown_as(api: Api, holds: Callable[[Any], bool]) -> Any:
    """The webhook, once this holds of it."""
    async with asyncio.timeout(20):
        while not holds(shown := await api.get("/webhooks/hook")):  # noqa: ASYNC110  # a read model tells nobody
            await asyncio.sleep(0.01)
    return shown


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        ({"url": "ftp://example.com"}, "url", "http or https"),
        ({"url": "http://user:word@example.com"}, "url", "without user"),
        ({"url": "http://example.com/" + "x" * 2048}, "url", "2048"),
        ({"url": "http://127.0.0.1:8000/"}, "url", "allow_private"),
        ({"url": "http://localhost/"}, "url", "allow_private"),
        ({"url": "http://169.254.169.254/"}, "url", "allow_private"),
        ({"name": ""}, "name", "at least"),
        ({"wanted": {"types": ["a b"]}}, "wanted.types", "such as instance.*"),
        ({"wanted": {"types": ["a"] * 17}}, "wanted.types", "16 of them"),
        ({"wanted": {"subject": "web"}}, "wanted.subject", "KIND/ID"),
        ({"wanted": {"type": "x"}}, "wanted.type", "no such field"),
        ({"from": "x"}, "from", "now or beginning"),
        ({"since": "soon"}, "since", "how long ago"),
        ({"from": "now", "since": "1h"}, "since", "without from"),
    ],
)
async def test_what_is_no_webhook(api: Api, body: dict[str, Any], field: str, says: str) -> None:
    api.services.settings.webhooks = api.services.settings.webhooks.model_copy(update={"allow_private": False})
    refused = await api.post("/webhooks", {"name": "hook", "url": FAR, **body}, 422)
    assert field in refused["detail"]
    assert says in refused["detail"]
    assert (await api.get("/webhooks"))["webhooks"] == []


async def test_names_are_unique_and_webhooks_bounded(api: Api) -> None:
    api.services.settings.webhooks = api.services.settings.webhooks.model_copy(update={"most": 2})
    await api.post("/webhooks", {"name": "a", "url": FAR})
    assert (await api.post("/webhooks", {"name": "a", "url": FAR}, 409))["code"] == "already-exists"
    await api.post("/webhooks", {"name": "b", "url": FAR})
    assert (await api.post("/webhooks", {"name": "c", "url": FAR}, 409))["code"] == "too-many-webhooks"
    await api.delete("/webhooks/a")
    await api.post("/webhooks", {"name": "a", "url": FAR})
    assert (await api.patch("/webhooks/a", {"name": "b"}, 409))["code"] == "already-exists"


async def test_its_secret_is_kept_while_it_is_there(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret_sweep, "SETTLED", timedelta(days=-365 * 100))
    monkeypatch.setattr(secret_sweep, "NEVER_BOOTED", timedelta(days=-365 * 100))
    made = await api.post("/webhooks", {"name": "hook", "url": FAR})
    owner = OWNER + made["id"]
    assert await secret_sweep.sweep(api.services) == 0
    far = api.world.now + timedelta(days=365 * 100)
    assert await api.services.secrets.held(far, 10) == [owner]
    await api.delete("/webhooks/hook")
    assert await secret_sweep.sweep(api.services) == 1
    assert await api.services.secrets.held(far, 10) == []
