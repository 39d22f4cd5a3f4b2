"""Sending one event to one endpoint: a CloudEvent in structured mode, signed as Standard Webhooks says, sent once.

The envelope is that of CloudEvents 1.0 (JSON format, HTTP binding, structured content mode); the signature is that of
the Standard Webhooks specification: HMAC-SHA256 over id, time and body, under `v1,`.
"""

import asyncio
import base64
import logging
import secrets
import ssl
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import httpcore
import orjson
from standardwebhooks.webhooks import Webhook

from domain.core.messages import Record
from infra.process.error_text import named, text_of
from infra.webhooks.ssrf_guard import GuardedBackend, NotAllowed, guarded_pool

logger = logging.getLogger(__name__)

USER_AGENT = "gostack-webhooks"
"""User-Agent of every request to an endpoint, by which GoStack's API knows and refuses them."""
MEDIA_TYPE = "application/cloudevents+json"
SECRET_PREFIX = "whsec_"
SECRET_BYTES = 32
MOST_ANSWER = 16 << 10
"""Bytes of an answer that are read; the rest is not."""
MOST_CONNECTIONS = 500
IDLE_SECONDS = 30.0
LONGEST_RETRY_AFTER = 86400.0
GONE = 410
ATTRIBUTES = (
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "correlationid",
    "causationid",
    "taskid",
    "actor",
    "project",
    "reason",
    "verdict",
    "traceparent",
)
"""CloudEvents attributes of an event that are sent to a receiver; others are internal to GoStack."""
REQUIRED = {"specversion", "id", "source", "type"}
"""The attributes that CloudEvents requires."""


@dataclass(frozen=True, slots=True)
class SendResult:
    """The result of an attempt to send an event."""

    status: int
    """HTTP status of the answer; 0 where there was none."""
    error: str
    """Why the attempt failed; empty where the receiver accepted the event."""
    retry_after: float = 0.0
    """Seconds that the receiver asks to wait before the next attempt."""

    @property
    def gone(self) -> bool:
        """Whether the receiver answers that it wants no more events (410 Gone)."""
        return self.status == GONE


def new_secret() -> str:
    """Make a random secret in the format of Standard Webhooks."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def cloud_event(record: Record) -> tuple[str, bytes]:
    """Return the id of a record with an event, and the event in CloudEvents' JSON format.

    Raises the exceptions in domain.core.event_filter.UNREADABLE where the record has no readable event.
    """
    headers = {name.removeprefix("ce_"): value.decode() for name, value in record.headers}
    about: dict[str, str | int] = {name: headers[name] for name in ATTRIBUTES if name in headers or name in REQUIRED}
    if "aggversion" in headers:
        about["aggversion"] = int(headers["aggversion"])
    about["datacontenttype"] = "application/json"
    # Data that is no JSON is found here: a receiver would refuse it again and again until its webhook is disabled.
    orjson.loads(record.value)
    return headers["id"], orjson.dumps(about)[:-1] + b',"data":' + record.value + b"}"


class Sender:
    """Sends events to endpoints, over a pool of connections."""

    def __init__(
        self,
        timeout: float,
        *,
        allow_private: bool,
        own_ports: Collection[int] = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Make a sender without connections.

        `timeout` is how many seconds an attempt may take. `tls` holds the certificates to trust; None is the system's.
        `allow_private` lets endpoints have addresses that are not of the public internet, but for the ports
        `own_ports` of this machine."""
        self._timeout = timeout
        backend = GuardedBackend(allow_private=allow_private, own_ports=own_ports)
        self._pool = guarded_pool(backend, MOST_CONNECTIONS, tls, keepalive_expiry=IDLE_SECONDS)

    async def send(self, url: str, ident: str, body: bytes, keys: Sequence[str], now: datetime) -> SendResult:
        """Send a body once, signed with each of these secrets, and return the result; failures are results, too.

        `ident` is the id of the message, `now` the time in UTC that is signed. Redirects are not followed."""
        try:
            signed = [Webhook(key).sign(ident, now, body.decode()) for key in keys]
            headers = [
                ("Content-Type", MEDIA_TYPE),
                ("User-Agent", USER_AGENT),
                ("webhook-id", ident),
                ("webhook-timestamp", str(int(now.timestamp()))),
                ("webhook-signature", " ".join(signed)),
            ]
            async with asyncio.timeout(self._timeout):
                async with self._pool.stream("POST", url, headers=headers, content=body) as answer:
                    await _read(answer)
                    return _outcome(answer)
        except (TimeoutError, httpcore.TimeoutException):
            return SendResult(0, f"no answer within {self._timeout:g} s")
        except NotAllowed as error:
            return SendResult(0, str(error))
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol, OSError) as error:
            return SendResult(0, text_of(error)[:500] or named(error))
        except Exception as error:
            # An unexpected exception must not end the deliveries to other endpoints: it counts as a failed attempt.
            logger.exception("sending the event failed in an unexpected way")
            return SendResult(0, named(error)[:500])

    async def close(self) -> None:
        """Close all connections to endpoints."""
        await self._pool.aclose()


async def _read(answer: httpcore.Response) -> None:
    """Read an answer up to MOST_ANSWER bytes, so that the connection can be used again; after a longer one it is
    closed."""
    read = 0
    async for part in answer.aiter_stream():
        read += len(part)
        if read > MOST_ANSWER:
            return


def _outcome(answer: httpcore.Response) -> SendResult:
    status = answer.status
    if 200 <= status < 300:
        return SendResult(status, "")
    why = f"it answers {status}" + (", and redirects are not followed" if 300 <= status < 400 else "")
    wait = {name.lower(): value for name, value in answer.headers}.get(b"retry-after", b"")
    return SendResult(status, why, min(float(wait), LONGEST_RETRY_AFTER) if wait.isdigit() else 0.0)
