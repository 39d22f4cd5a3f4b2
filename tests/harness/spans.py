"""Spans in memory, as a collector would have them."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

from infra.process import traces


class Spans:
    """Those that ended."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()

    def all(self) -> list[ReadableSpan]:
        """In the order in which they began."""
        return sorted(self.exporter.get_finished_spans(), key=lambda each: each.start_time or 0)

    def named(self, name: str) -> list[ReadableSpan]:
        return [each for each in self.all() if each.name == name]

    def tree(self, of: ReadableSpan) -> dict[str, object]:
        """A span's children by name, and theirs; alike ones once."""
        below = [each for each in self.all() if each.parent and each.parent.span_id == of.context.span_id]
        found: dict[str, object] = {}
        for each in below:
            children = self.tree(each)
            known = found.setdefault(each.name, {})
            assert isinstance(known, dict)
            known |= children
        return found

    def parent(self, of: ReadableSpan) -> ReadableSpan:
        """The span above."""
        assert of.parent is not None
        (found,) = [each for each in self.all() if each.context.span_id == of.parent.span_id]
        return found


class _Handed(SpanProcessor):
    """Hands a span that ends to those who collect at that time."""

    def __init__(self) -> None:
        self.to: list[SimpleSpanProcessor] = []

    def on_end(self, span: ReadableSpan) -> None:
        for each in self.to:
            each.on_end(span)


@cache
def _sampling(share: float) -> tuple[TracerProvider, _Handed]:
    """One provider for all tests: an application keeps that of its first request, and takes long to make."""
    provider = TracerProvider(sampler=ParentBasedTraceIdRatio(share), shutdown_on_exit=False)
    handed = _Handed()
    provider.add_span_processor(handed)
    return provider, handed


@contextmanager
def collected(sample: float = 1.0) -> Iterator[Spans]:
    """This process makes spans, for the time of a block."""
    spans = Spans()
    provider, handed = _sampling(sample)
    handed.to.append(SimpleSpanProcessor(spans.exporter))
    traces.use(provider)
    try:
        yield spans
    finally:
        traces.use(None)
        handed.to.pop()
