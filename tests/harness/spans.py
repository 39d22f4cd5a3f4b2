"""Spans in memory, as a collector would have them."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
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


@contextmanager
def collected(sample: float = 1.0) -> Iterator[Spans]:
    """This process makes spans, for the time of a block."""
    spans = Spans()
    provider = TracerProvider(sampler=ParentBasedTraceIdRatio(sample), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans.exporter))
    traces.use(provider)
    try:
        yield spans
    finally:
        traces.use(None)
