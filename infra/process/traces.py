"""Traces: one request followed from the API through the log to a hypervisor, as OpenTelemetry spans.

Why a layer of our own over the library: a record's `traceparent` header is what joins two processes, most records have
none, and then nothing must be done at all. A span is made only below a sampled parent, or where somebody begins a trace
on purpose; so replay, which begins none and passes no parent on, makes none.

Off (the default) this costs a look at a variable. On, spans end in a bounded queue, which a thread empties; a
collector that does not answer costs what is in the queue, and nobody waits for it.
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

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.sdk.trace.export import SpanExporter

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
About = Mapping[str, str]
"""Attributes of a span; empty ones are left out."""
NOTHING: About = {}

QUEUE = 4096
"""Spans that wait for the collector; more are dropped, and counted."""
BATCH = 512
EVERY_MS = 1000
EXPORT_SECONDS = 5
"""How long a batch is tried; then it is dropped."""
GRACE = 2.0
"""Seconds that the end of a process waits for its last spans."""
LONGEST = 500
"""Characters of an attribute."""
PATH = "/v1/traces"
"""Where OTLP collectors take traces (https://opentelemetry.io/docs/specs/otlp/#otlphttp-request)."""

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
    """A span, or none: then everything is done and nothing happens."""

    __slots__ = ("_span",)

    def __init__(self, span: trace.Span | None) -> None:
        self._span = span

    def __bool__(self) -> bool:
        return self._span is not None

    @property
    def traceparent(self) -> str:
        """What makes another span its child, over any distance; empty where there is no span."""
        return _traceparent(self._span.get_span_context()) if self._span is not None else ""

    def within(self, work: Callable[P, T], *args: P.args, **more: P.kwargs) -> T:
        """What `work` gives, called while this is the current span."""
        if self._span is None:
            return work(*args, **more)
        with trace.use_span(self._span, record_exception=False, set_status_on_exception=False):
            return work(*args, **more)

    def tell(self, about: About) -> None:
        """More of what it is about."""
        if self._span is not None:
            self._span.set_attributes(_bounded(about))

    def fail(self, why: str) -> None:
        """It did not go well."""
        if self._span is not None:
            self._span.set_status(Status(StatusCode.ERROR, why[:LONGEST]))

    def end(self) -> None:
        """It is over."""
        if self._span is not None:
            self._span.end()


NONE = Span(None)


def on() -> bool:
    """Whether spans are made in this process."""
    return _tracer is not None


def provider() -> trace.TracerProvider | None:
    """For libraries that make spans of their own."""
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
    """A span below `parent` (a `traceparent`), or else below the current one; to be ended by who asked for it.

    None where the parent is not sampled, or there is no parent; `root` begins a trace then. `at`: nanoseconds since
    1970 when it began, if that is over.
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
    """As begin(), for the time of a block, in which it is the current one; an error in it is an error of the span."""
    made = begin(name, kind, parent, root=root, about=about)
    with current(made, end=True):
        yield made


@contextmanager
def current(made: Span, end: bool = False) -> Iterator[None]:
    """For the time of a block, spans begun without a parent are children of this one."""
    if made._span is None:
        yield
        return
    with trace.use_span(made._span, end_on_exit=end, record_exception=False):
        yield


def followed(traceparent: str) -> bool:
    """Whether what has this `traceparent` is to get spans. Of nearly all records this is all that is asked."""
    return _tracer is not None and bool(traceparent) and traceparent[-1] in SAMPLED


def handling(verb: str, envelope: Envelope, place: str = "", kind: SpanKind = CONSUMER, at: int | None = None) -> Span:
    """A span of what is done with a message, below its `traceparent`; none where that is not sampled."""
    if not followed(envelope.traceparent):
        return NONE
    made = begin(f"{verb} {short(envelope.data.type_name)}", kind, envelope.traceparent, at=at)
    about = {f"gostack.{name}": text for name, text in log_context.described(envelope).items() if name != "trace"}
    topic = place.partition(":")[0]
    made.tell({"messaging.system": "kafka", "messaging.destination.name": topic, "gostack.place": place, **about})
    return made


def under(envelope: Envelope, made: Span) -> Envelope:
    """The same envelope, with this span as the one that what follows from it is below."""
    return replace(envelope, traceparent=made.traceparent) if made else envelope


def short(type_name: str) -> str:
    """A message's type for people: `instance.boot` for `gostack.instance.boot.v1`."""
    return type_name.removeprefix("gostack.").rpartition(".")[0]


def here() -> str:
    """The current span's `traceparent`; empty where there is none."""
    if _tracer is None:
        return ""
    above = trace.get_current_span().get_span_context()
    return _traceparent(above) if above.is_valid and above.trace_flags.sampled else ""


def valid(traceparent: str) -> str:
    """The same, or nothing where it is no `traceparent` (https://www.w3.org/TR/trace-context/#traceparent-header)."""
    return traceparent if _remote(traceparent) else ""


def _remote(traceparent: str) -> Context | None:
    context = _propagator.extract({"traceparent": traceparent}, Context())
    return context if trace.get_current_span(context).get_span_context().is_valid else None


def _traceparent(context: trace.SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _bounded(about: About) -> dict[str, str]:
    return {name: text[:LONGEST] for name, text in about.items() if text}


def set_up(process: str, endpoint: str, sample: float) -> None:
    """From now on this process makes spans, if there is an endpoint: an OTLP collector's, over HTTP.

    `sample`: of the traces that begin here, the share that is followed.
    """
    if not endpoint:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

    # What it says of a collector that is away, it says of each batch.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    about = {
        "service.namespace": "gostack",
        "service.name": f"gostack-{process}",
        "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
    }
    made = TracerProvider(
        sampler=ParentBasedTraceIdRatio(sample), resource=Resource.create(about), shutdown_on_exit=False
    )
    made.add_span_processor(queue(telling(OTLPSpanExporter(collector(endpoint), timeout=EXPORT_SECONDS), endpoint)))
    _end_with_process(made.shutdown)
    use(made)


def use(made: trace.TracerProvider | None) -> None:
    """Make spans by this from now on; by None: make none."""
    global _tracer, _provider
    _provider = made
    _tracer = made.get_tracer("gostack") if made is not None else None


def collector(endpoint: str) -> str:
    """The URL to send to: an endpoint without a path is a collector's, which takes traces at its usual path."""
    parts = urlsplit(endpoint)
    return urlunsplit(parts._replace(path=PATH)) if parts.path in ("", "/") else endpoint


def telling(inner: "SpanExporter", endpoint: str) -> "SpanExporter":
    """The same exporter; it counts, and says once when the collector goes away, and once when it is back."""
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    host = urlsplit(endpoint).hostname or ""

    class Telling(SpanExporter):
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

    return Telling()


def queue(inner: "SpanExporter", most: int = QUEUE) -> "SpanProcessor":
    """Takes ended spans, and gives them to the exporter many at a time. While `most` wait, what comes is lost."""
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

    # Its own bound drops without a word, and is never reached.
    room = most + BATCH
    return Counted(Leaving(), max_queue_size=room, schedule_delay_millis=EVERY_MS, max_export_batch_size=BATCH)


def _end_with_process(shutdown: Callable[[], None]) -> None:
    """Send what is left when the process ends, and do not wait long.

    The thread is there before: none can be made then.
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
