"""Traces: one request followed from the API through the log to a hypervisor, as OpenTelemetry spans.

Why a layer of our own over the library: the `traceparent` header of a record joins two processes, most records have
none, and then nothing must be done at all. A span is made only below a sampled parent, or where code begins a trace on
purpose; so replay, which begins none and passes no parent on, makes none.

Off (the default) tracing costs a look at a variable. On, ended spans wait in a bounded queue, which a thread empties; a
collector that does not answer costs the spans in the queue, and no request waits for it.
"""

import atexit
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, ParamSpec, TypeVar
from urllib.parse import urlsplit, urlunsplit

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from domain.core.messages import Envelope
from infra.process import log_context, metrics
from infra.process.error_text import named

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.sdk.trace.export import SpanExporter

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
About = Mapping[str, str]
"""Attributes of a span by name; empty ones are left out."""
NOTHING: About = {}

QUEUE = 4096
"""Spans that may wait for the collector; more are dropped, and counted."""
BATCH = 512
EVERY_MS = 1000
EXPORT_SECONDS = 5
"""Seconds for which sending a batch is tried; then the batch is dropped."""
GRACE = 2.0
"""Seconds that a process waits at its end until its last spans are sent."""
LONGEST = 500
"""Characters of an attribute that are kept."""
PATH = "/v1/traces"
"""The path at which OTLP collectors take traces (https://opentelemetry.io/docs/specs/otlp/#otlphttp-request)."""

SAMPLED = set("13579bdf")
"""Last digits of a `traceparent` whose lowest flag is set."""

SERVER, CLIENT, PRODUCER, CONSUMER, INTERNAL = (
    SpanKind.SERVER,
    SpanKind.CLIENT,
    SpanKind.PRODUCER,
    SpanKind.CONSUMER,
    SpanKind.INTERNAL,
)

_tracer: trace.Tracer | None = None
_provider: trace.TracerProvider | None = None
_propagator = TraceContextTextMapPropagator()


class Span:
    """A span, or the absence of one, for which every method does nothing more: callers need not tell them apart."""

    __slots__ = ("_span",)

    def __init__(self, span: trace.Span | None) -> None:
        self._span = span

    def __bool__(self) -> bool:
        return self._span is not None

    @property
    def traceparent(self) -> str:
        """The W3C `traceparent` that makes another span a child of this one; empty where there is no span."""
        return _traceparent(self._span.get_span_context()) if self._span is not None else ""

    def run(self, work: Callable[P, T], *args: P.args, **more: P.kwargs) -> T:
        """Call `work` while this span is the current one, and return its result. Raises what `work` raises."""
        if self._span is None:
            return work(*args, **more)
        with trace.use_span(self._span, record_exception=False, set_status_on_exception=False):
            return work(*args, **more)

    def set_attributes(self, about: About) -> None:
        """Add attributes to the span."""
        if self._span is not None:
            self._span.set_attributes(_bounded(about))

    def fail(self, why: str) -> None:
        """Mark the span as failed, for the reason `why`."""
        if self._span is not None:
            self._span.set_status(Status(StatusCode.ERROR, why[:LONGEST]))

    def end(self) -> None:
        """End the span now, and hand it over for sending."""
        if self._span is not None:
            self._span.end()


NONE = Span(None)


def on() -> bool:
    """Return whether this process makes spans."""
    return _tracer is not None


def provider() -> trace.TracerProvider | None:
    """Return the tracer provider, for libraries that make spans of their own; None where tracing is off."""
    return _provider


def begin(
    name: str,
    kind: SpanKind = INTERNAL,
    parent: str = "",
    *,
    root: bool = False,
    at: int | None = None,
    about: About = NOTHING,
) -> Span:
    """Begin a span below `parent` (a `traceparent`), or else below the current span. The caller ends it.

    Returns NONE where the parent is not sampled. Where there is no parent it begins a trace if `root` is set, and
    returns NONE otherwise. `at` is when the span began, in nanoseconds since 1970; None is now.
    """
    if _tracer is None:
        return NONE
    context = _remote(parent) if parent else None
    above = trace.get_current_span(context).get_span_context()
    if above.is_valid and not above.trace_flags.sampled:
        return NONE
    if not above.is_valid and not root:
        return NONE
    span = _tracer.start_span(name, context, kind, _bounded(about), start_time=at)
    return Span(span) if span.is_recording() else NONE


@contextmanager
def span(
    name: str, kind: SpanKind = INTERNAL, parent: str = "", *, root: bool = False, about: About = NOTHING
) -> Iterator[Span]:
    """Begin a span as begin() does, make it the current one for the time of a block, and end it with the block.

    An exception in the block marks the span as failed."""
    made = begin(name, kind, parent, root=root, about=about)
    with current(made, end=True):
        yield made


@contextmanager
def current(made: Span, end: bool = False) -> Iterator[None]:
    """Make `made` the current span for the time of a block: spans begun there without a parent are its children."""
    if made._span is None:
        yield
        return
    with trace.use_span(made._span, end_on_exit=end, record_exception=False, set_status_on_exception=False):
        try:
            yield
        except Exception as error:
            # The library would take the exception's whole text.
            made.fail(named(error))
            raise


def followed(traceparent: str) -> bool:
    """Return whether a message with this `traceparent` gets spans. For nearly all records this is all the work."""
    return _tracer is not None and bool(traceparent) and traceparent[-1] in SAMPLED


def handling(verb: str, envelope: Envelope, place: str = "", kind: SpanKind = CONSUMER, at: int | None = None) -> Span:
    """Begin a span for doing `verb` with a message, below its `traceparent`; return NONE where that is not sampled."""
    if not followed(envelope.traceparent):
        return NONE
    made = begin(f"{verb} {short(envelope.data.type_name)}", kind, envelope.traceparent, at=at)
    about = {f"gostack.{name}": text for name, text in log_context.described(envelope).items() if name != "trace"}
    topic = place.partition(":")[0]
    made.set_attributes(
        {"messaging.system": "kafka", "messaging.destination.name": topic, "gostack.place": place, **about}
    )
    return made


def under(envelope: Envelope, made: Span) -> Envelope:
    """Return the envelope with the `traceparent` of this span, so that spans of what follows from it are children."""
    return replace(envelope, traceparent=made.traceparent) if made else envelope


def short(type_name: str) -> str:
    """Shorten a message's type for people: `instance.boot` for `gostack.instance.boot.v1`."""
    return type_name.removeprefix("gostack.").rpartition(".")[0]


def here() -> str:
    """Return the current span's `traceparent`; empty where there is none."""
    if _tracer is None:
        return ""
    above = trace.get_current_span().get_span_context()
    return _traceparent(above) if above.is_valid and above.trace_flags.sampled else ""


def valid(traceparent: str) -> str:
    """Return the text, or an empty one where it is no `traceparent`
    (https://www.w3.org/TR/trace-context/#traceparent-header)."""
    return traceparent if _remote(traceparent) else ""


def _remote(traceparent: str) -> Context | None:
    context = _propagator.extract({"traceparent": traceparent}, Context())
    return context if trace.get_current_span(context).get_span_context().is_valid else None


def _traceparent(context: trace.SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _bounded(about: About) -> dict[str, str]:
    return {name: text[:LONGEST] for name, text in about.items() if text}


def set_up(process: str, endpoint: str, sample: float) -> None:
    """Let this process make spans from now on, and send them to the OTLP collector at `endpoint` over HTTP.

    An empty `endpoint` leaves tracing off. `sample` is the share of the traces that begin in this process, from 0 to 1,
    that are recorded.
    """
    if not endpoint:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

    # It logs an error for each batch while the collector is away; counting() logs one line.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    about = {
        "service.namespace": "gostack",
        "service.name": f"gostack-{process}",
        "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
    }
    made = TracerProvider(
        sampler=ParentBasedTraceIdRatio(sample), resource=Resource.create(about), shutdown_on_exit=False
    )
    made.add_span_processor(queue(counting(OTLPSpanExporter(collector(endpoint), timeout=EXPORT_SECONDS), endpoint)))
    _end_with_process(made.shutdown)
    use(made)


def use(made: trace.TracerProvider | None) -> None:
    """Make spans with this tracer provider from now on; None turns tracing off."""
    global _tracer, _provider
    _provider = made
    _tracer = made.get_tracer("gostack") if made is not None else None


def collector(endpoint: str) -> str:
    """Return the URL to send spans to: that of `endpoint`, with OTLP's usual path where it has none."""
    parts = urlsplit(endpoint)
    return urlunsplit(parts._replace(path=PATH)) if parts.path in ("", "/") else endpoint


def counting(inner: "SpanExporter", endpoint: str) -> "SpanExporter":
    """Wrap an exporter so that spans are counted, and one line is logged when the collector goes away or comes back."""
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    host = urlsplit(endpoint).hostname or ""

    class Counting(SpanExporter):
        away = False

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            result = inner.export(spans)
            gone = result is not SpanExportResult.SUCCESS
            metrics.SPANS.labels("lost" if gone else "sent").inc(len(spans))
            if gone != self.away:
                self.away = gone
                logger.warning("the collector of traces at %s %s", host, "does not answer" if gone else "answers again")
            return result

        def shutdown(self) -> None:
            inner.shutdown()

    return Counting()


def queue(inner: "SpanExporter", most: int = QUEUE) -> "SpanProcessor":
    """Make a processor that queues ended spans and exports them in batches.

    While `most` spans wait, new ones are lost."""
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    counting = threading.Lock()
    waiting = 0

    class Leaving(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            nonlocal waiting
            with counting:
                waiting -= len(spans)
            return inner.export(spans)

        def shutdown(self) -> None:
            inner.shutdown()

    class Counted(BatchSpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            nonlocal waiting
            with counting:
                full = waiting >= most
                waiting += not full
            if full:
                metrics.SPANS.labels("lost").inc()
            else:
                super().on_end(span)

    # The bound of the base class drops without counting, so it is set where it is never reached.
    room = most + BATCH
    return Counted(Leaving(), max_queue_size=room, schedule_delay_millis=EVERY_MS, max_export_batch_size=BATCH)


def _end_with_process(shutdown: Callable[[], None]) -> None:
    """Send the spans that are left when the process ends, and wait at most GRACE seconds for that.

    The thread is started now: none can be started while a process ends.
    """
    ending, ended = threading.Event(), threading.Event()

    def wait() -> None:
        ending.wait()
        shutdown()
        ended.set()

    threading.Thread(target=wait, name="traces-end", daemon=True).start()

    def end() -> None:
        ending.set()
        ended.wait(GRACE)

    atexit.register(end)
