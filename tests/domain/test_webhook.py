"""Webhooks: what can be decided about them."""

import pytest

from domain.core.errors import AlreadyExists, NotFound, Refusal
from domain.core.messages import Event
from domain.webhook import (
    OVERLAP,
    CreateWebhook,
    DeleteWebhook,
    DisableWebhook,
    RetryWebhook,
    UpdateWebhook,
    Wanted,
    WebhookCommand,
    WebhookDeleted,
    WebhookDisabled,
    WebhookRetried,
    WebhookUpdated,
)
from tests.harness.spec import START, Spec, given

CREATE = CreateWebhook(name="a", url="http://a", wanted=Wanted(types=("x",)), begins=(1, 2), secret_ref="s")


def webhook(*commands: WebhookCommand) -> Spec:
    return given(CREATE, *commands, kind="webhook")


def test_it_is_as_it_was_made() -> None:
    made = webhook().state
    assert (made.name, made.url, made.project, made.begins) == ("a", "http://a", "p", (1, 2))
    assert (made.enabled, made.turn, made.secret_refs(START)) == (True, 1, ("s",))


@pytest.mark.parametrize(
    ("command", "events", "turn"),
    [
        (UpdateWebhook(name="b"), [WebhookUpdated], 1),
        (UpdateWebhook(name="a"), [], 1),
        (UpdateWebhook(url="http://b"), [WebhookUpdated], 2),
        (UpdateWebhook(wanted=Wanted()), [WebhookUpdated], 1),
        (RetryWebhook(), [WebhookRetried], 2),
        (RetryWebhook(begins=(3, 4)), [WebhookRetried], 2),
        (DisableWebhook(reason="r", turn=1), [WebhookDisabled], 1),
        (DisableWebhook(reason="r", turn=2), [], 1),
        (DeleteWebhook(), [WebhookDeleted], 1),
    ],
)
def test_what_follows(command: WebhookCommand, events: list[type[Event]], turn: int) -> None:
    assert webhook().when(command).then(*events).state.turn == turn


def test_it_is_disabled_once_and_retried_from_there() -> None:
    disabled = webhook(DisableWebhook(reason="r", turn=1))
    assert (disabled.state.enabled, disabled.state.reason) == (False, "r")
    disabled.when(DisableWebhook(reason="again", turn=1)).then()
    retried = disabled.when(RetryWebhook())
    assert (retried.state.enabled, retried.state.reason) == (True, "")
    retried.when(DisableWebhook(reason="late", turn=1)).then()
    retried.when(DisableWebhook(reason="r", turn=2)).then(WebhookDisabled)


def test_it_is_told_from_elsewhere_since_the_turn_in_which_that_was_asked_for() -> None:
    told = webhook(RetryWebhook())
    assert (told.state.begins, told.state.begun, told.state.turn) == ((1, 2), 0, 2)
    told.when(RetryWebhook(begins=(3, 4)), RetryWebhook())
    assert (told.state.begins, told.state.begun, told.state.turn) == ((3, 4), 3, 4)


def test_two_secrets_sign_for_a_day() -> None:
    now = webhook(UpdateWebhook(secret_ref="t")).state
    assert now.secret_refs(now.secret_changed) == ("t", "s")
    assert now.secret_refs(now.secret_changed + OVERLAP) == ("t",)


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
def test_what_is_refused(before: tuple[WebhookCommand, ...], command: WebhookCommand, refusal: type[Refusal]) -> None:
    given(*before, kind="webhook").when(command).refused(refusal)
