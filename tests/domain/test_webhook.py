"""Webhooks: what can be decided about them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.core.errors import AlreadyExists, NotFound, Refusal
from domain.core.messages import Envelope, Key
from domain.webhook import (
    OVERLAP,
    CreateWebhook,
    DeleteWebhook,
    DisableWebhook,
    RetryWebhook,
    UpdateWebhook,
    Wanted,
    Webhook,
    WebhookCommand,
    decide,
    evolve,
)

IDENT = "5a3f7c0b-8a07-5f0e-8e41-0f6c6a1d2e33"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
CREATE = CreateWebhook(name="a", url="http://a", wanted=Wanted(types=("x",)), begins=(1, 2), secret_ref="s")


class Given:
    """One webhook's story."""

    def __init__(self, *commands: WebhookCommand) -> None:
        self.now: Webhook | None = None
        self.time = NOW
        for command in commands:
            self.send(command)

    def send(self, command: WebhookCommand) -> list[str]:
        self.time += timedelta(seconds=1)
        envelope = Envelope(IDENT, command, Key("webhook", IDENT), self.time, "test", "c", project="p")
        events = decide(self.now, envelope).events
        for event in events:
            self.now = evolve(self.now, event, IDENT)
        return [type(event).__name__ for event in events]

    @property
    def webhook(self) -> Webhook:
        assert self.now is not None
        return self.now


def test_it_is_as_it_was_made() -> None:
    made = Given(CREATE).webhook
    assert (made.name, made.url, made.project, made.begins, made.enabled, made.turn) == (
        "a",
        "http://a",
        "p",
        (1, 2),
        True,
        1,
    )
    assert made.secret_refs(NOW) == ("s",)


@pytest.mark.parametrize(
    ("command", "events", "turn"),
    [
        (UpdateWebhook(name="b"), ["WebhookUpdated"], 1),
        (UpdateWebhook(name="a"), [], 1),
        (UpdateWebhook(url="http://b"), ["WebhookUpdated"], 2),
        (UpdateWebhook(wanted=Wanted()), ["WebhookUpdated"], 1),
        (RetryWebhook(), ["WebhookRetried"], 2),
        (RetryWebhook(begins=(3, 4)), ["WebhookRetried"], 2),
        (DisableWebhook(reason="r", turn=1), ["WebhookDisabled"], 1),
        (DisableWebhook(reason="r", turn=2), [], 1),
        (DeleteWebhook(), ["WebhookDeleted"], 1),
    ],
)
def test_what_follows(command: WebhookCommand, events: list[str], turn: int) -> None:
    given = Given(CREATE)
    assert given.send(command) == events
    assert given.webhook.turn == turn


def test_it_is_disabled_once_and_retried_from_there() -> None:
    given = Given(CREATE, DisableWebhook(reason="r", turn=1))
    assert (given.webhook.enabled, given.webhook.reason) == (False, "r")
    assert given.send(DisableWebhook(reason="again", turn=1)) == []
    given.send(RetryWebhook())
    assert (given.webhook.enabled, given.webhook.reason) == (True, "")
    assert given.send(DisableWebhook(reason="late", turn=1)) == []
    assert given.send(DisableWebhook(reason="r", turn=2)) == ["WebhookDisabled"]


def test_it_is_told_from_elsewhere_since_the_turn_in_which_that_was_asked_for() -> None:
    given = Given(CREATE, RetryWebhook())
    assert (given.webhook.begins, given.webhook.begun, given.webhook.turn) == ((1, 2), 0, 2)
    given.send(RetryWebhook(begins=(3, 4)))
    given.send(RetryWebhook())
    assert (given.webhook.begins, given.webhook.begun, given.webhook.turn) == ((3, 4), 3, 4)


def test_two_secrets_sign_for_a_day() -> None:
    given = Given(CREATE, UpdateWebhook(secret_ref="t"))
    changed = given.webhook.secret_changed
    assert given.webhook.secret_refs(changed) == ("t", "s")
    assert given.webhook.secret_refs(changed + OVERLAP) == ("t",)


@pytest.mark.parametrize(
    ("before", "command", "refusal"),
    [
        ((), UpdateWebhook(name="b"), NotFound),
        ((), RetryWebhook(), NotFound),
        ((CREATE,), CREATE, AlreadyExists),
        ((CREATE, DeleteWebhook()), DeleteWebhook(), NotFound),
        ((CREATE, DeleteWebhook()), DisableWebhook(reason="r", turn=1), NotFound),
    ],
)
def test_what_is_refused(before: Any, command: WebhookCommand, refusal: type[Refusal]) -> None:
    with pytest.raises(refusal):
        Given(*before).send(command)
