"""Traces: made below a sampled parent only, joined by a header, sent without anybody waiting for it."""

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from domain.core.messages import Envelope, Key, Topic, from_record, named_id, to_record
from domain.instance.actions.power.stop import StopInstance
from infra.process import metrics, traces
from tests.harness.collector import Collector, receiving
from tests.harness.spans import Spans, collected

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = PARENT.removesuffix("1") + "0"


@pytest.fixture
def spans() -> Iterator[Spans]:
    with collected() as found:
        yield found


def envelope(traceparent: str = PARENT) -> Envelope:
    return Envelope(
        id=named_id("test", "1"),
        data=StopInstance(),
        subject=Key("instance", "i1"),
        time=datetime.now(UTC),
        source="test",
        correlation="c1",
        traceparent=traceparent,
    )


def test_off_nothing_is_made() -> None:
    assert not traces.on()
    made = traces.begin("x", root=True)
    assert not made
    assert (made.traceparent, traces.here()) == ("", "")
    with traces.span("y", parent=PARENT) as span:
        span.set_attributes({"a": "b"})
        span.fail("no")
        assert span.run(lambda: 7) == 7
    sent = envelope()
    assert traces.under(sent, made) is sent


@pytest.mark.parametrize("parent", ["", UNSAMPLED, "garbage1"])
def test_nothing_is_made_without_a_sampled_parent(spans: Spans, parent: str) -> None:
    assert not traces.begin("x", parent=parent)
    assert not traces.handling("decide", envelope(parent))
    assert spans.all() == []


def test_a_child_is_below_its_parent_over_any_distance(spans: Spans) -> None:
    above = traces.handling("decide", envelope(), "gostack.commands:1:2")
    record = to_record(traces.under(envelope(), above), Topic.EVENTS)
    assert dict(record.headers)["traceparent"] == above.traceparent.encode()
    below = traces.handling("project", from_record(record), record.place)
    below.end()
    above.end()
    first, second = spans.all()
    assert (first.name, second.name) == ("decide instance.stop", "project instance.stop")
    assert second.parent is not None
    assert second.parent.span_id == first.context.span_id
    assert (first.attributes or {})["gostack.place"] == "gostack.commands:1:2"


def test_an_error_in_a_block_is_the_spans(spans: Spans) -> None:
    with pytest.raises(ValueError, match="oh"), traces.span("x", root=True):
        raise ValueError("oh")
    (span,) = spans.all()
    assert not span.status.is_ok
    assert span.events == ()


def test_attributes_are_bounded(spans: Spans) -> None:
    traces.begin("x", root=True, about={"long": "x" * 10_000, "empty": ""}).end()
    (span,) = spans.all()
    assert len(str((span.attributes or {})["long"])) == traces.LONGEST
    assert "empty" not in (span.attributes or {})


def test_headers_of_earlier_releases_are_read() -> None:
    record = to_record(envelope(), Topic.COMMANDS)
    earlier = tuple(("ce_traceparent" if name == "traceparent" else name, value) for name, value in record.headers)
    assert from_record(replace(record, headers=earlier)).traceparent == PARENT


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://c:4318", "http://c:4318/v1/traces"),
        ("http://c:4318/", "http://c:4318/v1/traces"),
        ("https://c/otlp/v1/traces", "https://c/otlp/v1/traces"),
    ],
)
def test_a_collector_without_a_path_takes_traces_at_the_usual_one(endpoint: str, url: str) -> None:
    assert traces.collector(endpoint) == url


@pytest.fixture
def collector() -> Iterator[Collector]:
    with receiving() as server:
        yield server


MAKE = """
import logging, time
from infra.process import logging as process_logging, traces
process_logging.set_up("engine", "json", "info")
traces.set_up("engine", {endpoint!r}, 1.0)
begun = time.monotonic()
for number in range({count}):
    with traces.span(f"span {{number}}", root=True):
        pass
print(time.monotonic() - begun)
"""


def run(endpoint: str, count: int) -> tuple[float, float, str]:
    """A process that makes spans and ends: seconds for these, seconds in all, and what it said."""
    begun = time.monotonic()
    code = MAKE.format(endpoint=endpoint, count=count)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return float(done.stdout), time.monotonic() - begun, done.stderr


def test_spans_reach_a_collector_also_the_last_before_the_end(collector: Collector) -> None:
    _, _, said = run(collector.url, 3)
    names, services = [each.name for each in collector.spans()], {each.service for each in collector.spans()}
    assert sorted(names) == ["span 0", "span 1", "span 2"]
    assert services == {"gostack-engine"}
    assert said == ""


def test_a_collector_that_is_away_costs_spans_and_nothing_else() -> None:
    _, seconds, said = run("http://127.0.0.1:9", traces.QUEUE * 3)
    assert seconds < traces.GRACE + 20
    assert said.count("does not answer") <= 1
    assert "Traceback" not in said


def test_a_collector_that_goes_and_comes_is_told_of_once_each(caplog: pytest.LogCaptureFixture) -> None:
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class Inner(SpanExporter):
        results = iter([0, 1, 1, 1, 0, 0])

        def export(self, spans: object) -> SpanExportResult:
            return SpanExportResult(next(self.results))

    exporter = traces.counting(Inner(), "http://user:secret@tempo:4318")
    with caplog.at_level(logging.WARNING):
        for _ in range(6):
            exporter.export([])
    assert [each.getMessage() for each in caplog.records] == [
        "the collector of traces at tempo does not answer",
        "the collector of traces at tempo answers again",
    ]


def test_what_finds_the_queue_full_is_counted() -> None:
    """Of ten spans a slow collector gets those for which there was room; the others are not forgotten."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    go_on = threading.Event()

    class Slow(SpanExporter):
        def export(self, spans: object) -> SpanExportResult:
            go_on.wait(30)
            return SpanExportResult.SUCCESS

    def counted(result: str) -> float:
        return metrics.SPANS.labels(result)._value.get()  # type: ignore[no-any-return]

    lost, sent = counted("lost"), counted("sent")
    made = TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(traces.queue(traces.counting(Slow(), "http://tempo:4318"), most=4))
    tracer = made.get_tracer("test")
    for number in range(10):
        tracer.start_span(f"span {number}").end()
    assert counted("lost") - lost == 6
    go_on.set()
    made.shutdown()
    assert counted("sent") - sent == 4
