"""One event to one endpoint: how it is signed and enveloped, where it may not go, and what does not hold it up."""

import base64
import hashlib
import hmac
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpcore
import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from domain.core.messages import Record
from infra.webhooks.sender import MEDIA_TYPE, Sender, cloud_event, new_secret
from infra.webhooks.ssrf_guard import GuardedBackend, NotAllowed, checked_url, is_public
from tests.harness.receiver import SILENT, Receiver, receiving

RECORD = Record(
    topic="gostack.events",
    key=b"1",
    value=b'{"name":"caf\xc3\xa9"}',
    headers=(
        ("ce_specversion", b"1.0"),
        ("ce_id", b"5a3f7c0b-8a07-5f0e-8e41-0f6c6a1d2e33"),
        ("ce_type", b"gostack.instance.created.v1"),
        ("ce_source", b"gostack/engine"),
        ("ce_subject", b"instance/1"),
        ("ce_time", b"2026-01-01T00:00:00+00:00"),
        ("ce_aggversion", b"3"),
        ("ce_fingerprint", b"of-the-request"),
        ("ce_causeplace", b"gostack.commands:1:2"),
        ("content-type", b"application/json"),
    ),
)
PATIENT, HASTY = 10.0, 0.1
"""Seconds that a sender waits: where an answer comes, and where none does."""
TRUSTING_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    made = Sender(PATIENT, allow_private=True, tls=TRUSTING_NOBODY)
    yield made
    await made.close()


async def test_an_event_is_sent_as_a_cloud_event(sender: Sender, receiver: Receiver) -> None:
    ident, body = cloud_event(RECORD)
    outcome = await sender.send(receiver.url, ident, body, [new_secret()], datetime.now(UTC))
    assert (outcome.status, outcome.error) == (204, "")
    (message,) = receiver.got
    assert message.path == "/hook"
    assert message.headers["content-type"] == MEDIA_TYPE
    assert message.id == message.event["id"]
    assert message.event == {
        "specversion": "1.0",
        "id": "5a3f7c0b-8a07-5f0e-8e41-0f6c6a1d2e33",
        "source": "gostack/engine",
        "type": "gostack.instance.created.v1",
        "subject": "instance/1",
        "time": "2026-01-01T00:00:00+00:00",
        "aggversion": 3,
        "datacontenttype": "application/json",
        "data": {"name": "café"},
    }


async def test_it_is_signed_as_the_specification_says(sender: Sender, receiver: Receiver) -> None:
    secret, before = new_secret(), new_secret()
    await sender.send(receiver.url, *cloud_event(RECORD), [secret, before], datetime.now(UTC))
    (message,) = receiver.got
    for each in (secret, before):
        Webhook(each).verify(message.body, message.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(message.body, message.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(message.body.replace(b"created", b"deleted"), message.headers)
    # By hand, as docs/webhooks.md tells it.
    signed = f"{message.id}.{message.headers['webhook-timestamp']}.".encode() + message.body
    digest = hmac.new(base64.b64decode(secret.removeprefix("whsec_")), signed, hashlib.sha256).digest()
    assert f"v1,{base64.b64encode(digest).decode()}" in message.headers["webhook-signature"].split(" ")
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32


@pytest.mark.parametrize(
    ("answer", "status", "says"),
    [
        ("200 OK", 200, ""),
        ("301 Moved\r\nLocation: /elsewhere", 301, "redirects are not followed"),
        ("400 Bad Request", 400, "it answers 400"),
        ("500 Oops", 500, "it answers 500"),
        ("no http at all", 0, "."),
    ],
)
async def test_only_2xx_takes_an_event(sender: Sender, receiver: Receiver, answer: str, status: int, says: str) -> None:
    receiver.answer = lambda message: answer
    outcome = await sender.send(receiver.url, *cloud_event(RECORD), [new_secret()], datetime.now(UTC))
    assert outcome.status == status
    assert bool(outcome.error) == bool(says)
    assert says.strip(".") in outcome.error
    assert len(receiver.got) == 1


async def test_an_answer_that_does_not_come_is_not_waited_for(receiver: Receiver) -> None:
    receiver.answer = lambda message: SILENT
    hasty = Sender(HASTY, allow_private=True, tls=TRUSTING_NOBODY)
    outcome = await hasty.send(receiver.url, *cloud_event(RECORD), [new_secret()], datetime.now(UTC))
    await hasty.close()
    assert (outcome.status, outcome.error) == (0, "no answer within 0.1 s")


async def test_a_receiver_may_ask_for_time(sender: Sender, receiver: Receiver) -> None:
    for said, seconds in (("7", 7.0), ("999999999", 86400.0), ("tomorrow", 0.0)):
        receiver.answer = lambda message, said=said: f"429 Too Many Requests\r\nRetry-After: {said}"  # type: ignore[misc]
        outcome = await sender.send(receiver.url, *cloud_event(RECORD), [new_secret()], datetime.now(UTC))
        assert outcome.retry_after == seconds


async def test_an_answer_without_end_is_not_read_to_its_end(sender: Sender, receiver: Receiver) -> None:
    receiver.answer = lambda message: "200 OK"
    receiver.body = b"x" * (1 << 20)
    outcome = await sender.send(receiver.url, *cloud_event(RECORD), [new_secret()], datetime.now(UTC))
    assert outcome.status == 200


async def test_nobody_listens(sender: Sender) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    outcome = await sender.send(f"http://127.0.0.1:{port}/", *cloud_event(RECORD), [new_secret()], datetime.now(UTC))
    assert outcome.status == 0
    assert outcome.error


@pytest.mark.parametrize("host", ["hooks..example.com", "x" * 64])
async def test_a_name_that_cannot_even_be_asked_for_has_no_address(sender: Sender, host: str) -> None:
    outcome = await sender.send(f"http://{host}/", *cloud_event(RECORD), [new_secret()], datetime.now(UTC))
    assert outcome.status == 0
    assert "has no address" in outcome.error


async def test_whatever_goes_wrong_is_this_endpoints_failure(
    sender: Sender, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def connect(*_: object) -> httpcore.AsyncNetworkStream:
        raise LookupError("nobody foresaw this")

    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", connect)
    outcome = await sender.send(receiver.url, *cloud_event(RECORD), [new_secret()], datetime.now(UTC))
    assert (outcome.status, outcome.error) == (0, "LookupError: nobody foresaw this")
    outcome = await sender.send(receiver.url, *cloud_event(RECORD), ["no secret"], datetime.now(UTC))
    assert outcome.status == 0
    assert outcome.error


async def test_what_is_not_public_is_not_connected_to(receiver: Receiver) -> None:
    sender = Sender(1.0, allow_private=False, tls=TRUSTING_NOBODY)
    port = receiver.url.rpartition(":")[2]
    for host in ("127.0.0.1", "localhost", "[::1]", "0.0.0.0", "[::ffff:127.0.0.1]", "2130706433", "127.1"):
        outcome = await sender.send(f"http://{host}:{port}", *cloud_event(RECORD), [new_secret()], datetime.now(UTC))
        assert outcome.status == 0
        assert outcome.error
    await sender.close()
    assert receiver.got == []


async def test_no_port_of_its_own_is_connected_to_by_whatever_name(receiver: Receiver) -> None:
    port = int(receiver.url.split(":")[2].partition("/")[0])
    sender = Sender(PATIENT, allow_private=True, own_ports={port}, tls=TRUSTING_NOBODY)
    for host in ("127.0.0.1", "localhost", "127.0.0.2", "0.0.0.0", "[::ffff:127.0.0.1]", "2130706433", "127.1"):
        url = f"http://{host}:{port}/hook"
        outcome = await sender.send(url, *cloud_event(RECORD), [new_secret()], datetime.now(UTC))
        assert (outcome.status, outcome.error.partition(": ")[2]) == (0, "it is an address of GoStack's own"), host
    await sender.close()
    assert receiver.got == []
    for host in ("127.0.0.1", "localhost", "0.0.0.0", "[::1]", "127.9.9.9"):
        with pytest.raises(ValueError, match="GoStack's own"):
            checked_url(f"http://{host}:{port}/", allow_private=True, own_ports={port})
    with pytest.raises(ValueError, match="GoStack's own"):
        checked_url("http://127.0.0.1", allow_private=True, own_ports={80})
    checked_url("http://192.0.2.1:7480/", allow_private=True, own_ports={7480})


async def test_the_address_that_was_checked_is_the_one_that_is_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connected: list[str] = []

    async def connect(self: object, host: str, *rest: object) -> httpcore.AsyncNetworkStream:
        connected.append(host)
        raise httpcore.ConnectError("not here")

    async def addresses(*given: object, **more: object) -> list[object]:
        return [(0, 0, 0, "", (each, 80)) for each in ("10.0.0.1", "1.1.1.1", "169.254.169.254", "8.8.8.8")]

    monkeypatch.setattr("asyncio.BaseEventLoop.getaddrinfo", addresses)
    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", connect)
    with pytest.raises(httpcore.ConnectError):
        await GuardedBackend(allow_private=False).connect_tcp("two-faced.example", 80)
    assert connected == ["1.1.1.1", "8.8.8.8"]
    connected.clear()

    async def inside(*given: object, **more: object) -> list[object]:
        return [(0, 0, 0, "", ("192.168.1.1", 80))]

    monkeypatch.setattr("asyncio.BaseEventLoop.getaddrinfo", inside)
    with pytest.raises(NotAllowed, match="allow_private"):
        await GuardedBackend(allow_private=False).connect_tcp("inside.example", 80)
    assert connected == []


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("1.1.1.1", True),
        ("2606:4700:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.0.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("2002:7f00:1::", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::808:808", True),
        ("::ffff:8.8.8.8", True),
        ("::127.0.0.1", False),
        ("::8.8.8.8", False),
        ("::ffff:0:127.0.0.1", False),
        ("::ffff:0:8.8.8.8", False),
        ("fec0::1", False),
        ("3fff::1", False),
        ("3fff:fff::1", False),
        ("5f00::1", False),
        ("2001:db8::1", False),
        ("2001::1", False),
        ("2002:808:808::1", False),
        ("64:ff9b:1::808:808", False),
        ("100::1", False),
        ("192.88.99.1", False),
        ("168.63.129.16", False),
        ("::ffff:168.63.129.16", False),
        ("64:ff9b::a83f:8110", False),
        ("168.63.129.17", True),
        ("100.100.100.200", False),
        ("fd00:ec2::254", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is public


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "ftp://example.com/",
        "file:///etc/passwd",
        "http://",
        "http://user:password@example.com/",
        "http://example.com/#part",
        "http://example.com:0/",
        "http://example.com:99999/",
        "http://exa mple.com/",
        "http://hooks..example.com/",
        "http://.example.com/",
        f"http://{'x' * 64}.example.com/",
        "http://example.com/\r\nX: y",
        "http://[::1/",
        "https://example.com/" + "x" * 2048,
        "http://localhost:8080/",
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://169.254.169.254/latest/meta-data/",
    ],
)
def test_what_is_no_url_for_a_webhook(url: str) -> None:
    with pytest.raises(ValueError, match=r"is needed|public internet"):
        checked_url(url, allow_private=False)


@pytest.mark.parametrize("url", ["https://example.com/x?y=z", "http://1.1.1.1:8080", "https://[2606:4700::1111]/"])
def test_what_is_a_url_for_a_webhook(url: str) -> None:
    checked_url(url, allow_private=False)
    checked_url("http://127.0.0.1:9/", allow_private=True)
