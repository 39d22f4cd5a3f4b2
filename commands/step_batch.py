"""All that one step of a processor has decided, before it is stored and sent."""

from collections import Counter
from dataclasses import dataclass, field, replace

from opentelemetry.trace import SpanKind

from commands.rules import CachedAggregate
from domain.core.messages import Envelope, Key, Outgoing, Record
from infra.db.write_store import Opened
from infra.process import traces


@dataclass(slots=True)
class StepBatch:
    """The decisions of one step so far."""

    opened: Opened
    touched: dict[Key, tuple[int, CachedAggregate]] = field(default_factory=dict)
    """Key -> version before this step, and the aggregate now."""
    events: dict[Key, list[Record]] = field(default_factory=dict)
    """Records of the events of large aggregates, whose states are not stored whole."""
    outbox: list[Record] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    parked: dict[Key, str] = field(default_factory=dict)
    released: set[Key] = field(default_factory=set)
    spans: list[traces.Span] = field(default_factory=list)
    """Spans of what is traced; they end when all that follows is on the log."""
    verdicts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Number of each command, verdict and code, for metrics."""
    dead: int = 0

    def why_parked(self, key: Key) -> str:
        """Return why the aggregate takes no commands, or an empty text where it does."""
        before = "" if key in self.released else self.opened.parked.get(key, "")
        return self.parked.get(key) or before

    def begin(self, verb: str, envelope: Envelope, place: str, kind: SpanKind = traces.CONSUMER) -> traces.Span:
        """Begin a span of this step; an empty one where the envelope's trace is not followed."""
        span = traces.handling(verb, envelope, place, kind)
        if span:
            self.spans.append(span)
        return span

    def sending(self, cause: Envelope, message: Outgoing) -> Envelope:
        """Return the cause of an outgoing message with a span of its own, where its trace is followed."""
        if not traces.followed(cause.traceparent):
            return cause
        about = replace(cause, data=message.data, subject=message.subject)
        return traces.under(cause, self.begin("send", about, message.topic, traces.PRODUCER))
