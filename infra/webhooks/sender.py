"""One event to one endpoint: a CloudEvent in structured mode, signed as Standard Webhooks says, sent once.

The envelope is that of CloudEvents 1.0 (JSON format, HTTP binding, structured content mode); the signature is that of
the Standard Webhooks specification: HMAC-SHA256 over id, time and body, under `v1,`.
"""

import asyncio
import base64
import logging
import secrets
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import httpcore
import orjson
from standardwebhooks.webhooks import Webhook

from domain.core.messages import Record
from infra.webhooks.ssrf_guard import GuardedBackend, NotAllowed

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/cloudevents+json"
SECRET_PREFIX = "whsec_"
SECRET_BYTES = 32
MOST_ANSWER = 16 << 10
"""Bytes of an answer that are read; the rest is left where it is."""
MOST_CONNECTIONS = 500
IDLE_SECONDS = 30.0
LONGEST_RETRY_AFTER = 86400.0
GONE = 410
SAID = (
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
"""Attributes of an event that a receiver is told; the others are GoStack's own."""
REQUIRED = {"specversion", "id", "source", "type"}
"""Of these, those that CloudEvents cannot do without."""


@dataclass(frozen=True, slots=True)
class SendResult:
    """What came of an attempt."""

    status: int
    """HTTP status; 0 where there was no answer."""
    error: str
    """Why the event was not taken; empty where it was."""
    retry_after: float = 0.0
    """Seconds that the receiver asks for."""

    @property
    def gone(self) -> bool:
        """The receiver wants to be told no more."""
        return self.status == GONE


def new_secret() -> str:
    """A secret as Standard Webhooks writes it."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def cloud_event(record: Record) -> tuple[str, bytes]:
    """A record's id, and the record in CloudEvents' JSON format.

    Raises what is in domain.interest.UNREADABLE for what is no event.
    """
    said = {name.removeprefix("ce_"): value.decode() for name, value in record.headers}
    about: dict[str, str | int] = {name: said[name] for name in SAID if name in said or name in REQUIRED}
    if "aggversion" in said:
        about["aggversion"] = int(said["aggversion"])
    about["datacontenttype"] = "application/json"
    # A receiver refuses what it cannot read, and is told again until its webhook is disabled.
    orjson.loads(record.value)
    return said["id"], orjson.dumps(about)[:-1] + b',"data":' + record.value + b"}"


class Sender:
    """Sends to endpoints."""

    def __init__(self, timeout: float, *, allow_private: bool, tls: ssl.SSLContext | None = None) -> None:
        """`timeout`: seconds an attempt may take in all. `tls`: whom to trust; without, whom the system trusts."""
        self._timeout = timeout
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls or ssl.create_default_context(),
            max_connections=MOST_CONNECTIONS,
            keepalive_expiry=IDLE_SECONDS,
            network_backend=GuardedBackend(allow_private=allow_private),
        )

    async def send(self, url: str, ident: str, body: bytes, keys: Sequence[str], now: datetime) -> SendResult:
        """One attempt, signed with each of these secrets. Redirects are not followed. `now`: UTC."""
        try:
            signed = [Webhook(key).sign(ident, now, body.decode()) for key in keys]
            headers = [
                ("Content-Type", MEDIA_TYPE),
                ("User-Agent", "gostack-webhooks"),
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
            return SendResult(0, str(error)[:500] or type(error).__name__)
        except Exception as error:
            # Whatever one endpoint brings about is that endpoint's failure, and counts as one.
            logger.exception("it could not be told")
            return SendResult(0, f"{type(error).__name__}: {error}"[:500])

    async def close(self) -> None:
        """Let go of all connections."""
        await self._pool.aclose()


async def _read(answer: httpcore.Response) -> None:
    """So much that the connection can be used again; a longer answer costs it."""
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
