"""Server-sent events, as far as `gs event follow` needs them.

Why it goes on by itself: a feed outlives connections; the last event's id says where it broke off, so nothing is
missed and nothing is shown twice.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from cli.gs.client import ATTEMPTS, FIRST_PAUSE, Client
from cli.gs.problems import Unreachable

END = "end"
"""Kind of the last event of a stream that ends."""


@dataclass(frozen=True)
class Sent:
    """An event of a stream of server-sent events."""

    id: str
    kind: str
    data: str


def parse(lines: Iterable[str]) -> Iterator[Sent]:
    """Yield the events in these lines. An event without data says where the stream is, and that it is alive."""
    ident, kind = "", "message"
    data: list[str] = []
    for line in lines:
        if not line:
            if ident or data:
                yield Sent(ident, kind, "\n".join(data))
            kind, data = "message", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "id":
                ident = value
            case "event":
                kind = value
            case "data":
                data.append(value)


def _in_time(client: Client, lines: Iterable[str]) -> Iterator[str]:
    """Yield lines until the deadline, also of a stream without events. Raises TimedOut."""
    for line in lines:
        client.deadline.check()
        yield line


def follow(client: Client, path: str, params: dict[str, Any]) -> Iterator[Sent]:
    """Yield events, including those without data, up to an event of kind `end`.

    Raises Unreachable after several broken connections in a row without an event, TimedOut.
    """
    import httpx

    last, broken = "", 0
    while True:
        why = "the connection ended"
        try:
            headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
            with client.stream(path, params=params, headers=headers) as lines:
                for sent in parse(_in_time(client, lines)):
                    last, broken = sent.id or last, 0
                    yield sent
                    if sent.kind == END:
                        return
        except Unreachable as problem:
            why = str(problem)
        except httpx.RequestError as error:
            client.deadline.check()
            why = str(error) or type(error).__name__
            if isinstance(error, httpx.ReadTimeout):
                continue
        broken += 1
        if broken >= ATTEMPTS:
            raise Unreachable(f"The event stream of {client.url} broke off: {why}.")
        client.pause(FIRST_PAUSE * 2**broken)
