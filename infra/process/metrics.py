"""Every metric of every process, in one table.

Why one table: tests hold docs/metrics.md and the dashboard to it, and no name is spelled twice. Values live in a
registry of the process. A metric is updated once a step, batch, job or request, so it costs a few microseconds of each
of these whether anything scrapes it or not.

The format is Prometheus' (https://prometheus.io/docs/concepts/data_model/): base units, counters end in `_total`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LONG_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
RECORDS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)


@dataclass(frozen=True)
class Metric:
    """A metric: a line of the table, with the processes that have it."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    processes: str
    meaning: str


METRICS: list[Metric] = []
"""The table, in the order of the declarations below, which fill it."""


def _counter(name: str, processes: str, meaning: str, *labels: str) -> Counter:
    METRICS.append(Metric(name, "counter", labels, processes, meaning))
    return Counter(name, meaning, labels, registry=REGISTRY)


def _gauge(name: str, processes: str, meaning: str, *labels: str) -> Gauge:
    METRICS.append(Metric(name, "gauge", labels, processes, meaning))
    return Gauge(name, meaning, labels, registry=REGISTRY)


def _histogram(name: str, processes: str, meaning: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
    METRICS.append(Metric(name, "histogram", labels, processes, meaning))
    return Histogram(name, meaning, labels, registry=REGISTRY, buckets=buckets)


class Readings(Collector):
    """A counter that is counted elsewhere, and read there again and again."""

    def __init__(self, metric: Metric) -> None:
        """Begin without any reading. `metric` has one label."""
        self._metric = metric
        self.values: Mapping[str, float] = {}
        """The last reading: the label's value -> what was counted. A value that is left out is no series any more."""
        REGISTRY.register(self)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yield the last reading."""
        family = CounterMetricFamily(self._metric.name, self._metric.meaning, labels=self._metric.labels)
        for label, value in self.values.items():
            family.add_metric([label], value)
        yield family


def _of_rules(name: str, meaning: str) -> Readings:
    METRICS.append(Metric(name, "counter", ("rule",), "agent", meaning))
    return Readings(METRICS[-1])


WORKERS = "engine, scheduler"
EVERYONE = "all"

LAG = _gauge(
    "gostack_lag_records",
    EVERYONE,
    "records of a topic, in the partitions of this process or of its hosts, that it has not processed yet; and, in "
    "place of a topic, `deadlines` that passed, `dispatches` that a host has taken and not answered",
    "process",
    "topic",
)
LAG_SECONDS = _gauge(
    "gostack_lag_seconds",
    EVERYONE,
    "seconds that the oldest of these records has waited; 0 where none waits",
    "process",
    "topic",
)
ASSIGNED = _gauge("gostack_assigned_partitions", WORKERS, "partitions that are assigned to this process", "process")
ASSIGNMENTS = _counter("gostack_assignments_total", WORKERS, "times that partitions were assigned anew", "process")
STEP_SECONDS = _histogram(
    "gostack_step_seconds", WORKERS, "seconds from the start of a step until all that follows is on the log", SECONDS,
    "process",
)  # fmt: skip
STEP_RECORDS = _histogram(
    "gostack_step_records", WORKERS, "records in a step that were not processed before", RECORDS, "process"
)
OUTBOX = _gauge(
    "gostack_outbox_records",
    "api",
    "records that engine or scheduler (`process`) decided and that are not yet on the log, as the database has them",
    "process",
)
VERDICTS = _counter(
    "gostack_verdicts_total",
    WORKERS,
    "verdicts on commands; `code` is the refusal's",
    "process",
    "command",
    "verdict",
    "code",
)
DEAD = _counter(
    "gostack_dead_records_total",
    "engine, scheduler, projector, agent",
    "records that were sent to gostack.dead",
    "process",
)
PARKED = _gauge(
    "gostack_parked_aggregates",
    "api",
    "aggregates of engine or scheduler (`process`) that take no commands until released",
    "process",
)
PLACEMENTS = _counter(
    "gostack_placements_total", "scheduler", "requests for a placement: `placed`, or the refusal's code", "result"
)
DEADLINES = _counter("gostack_deadlines_total", "timers", "deadlines that passed, whose command was published")
PROJECTOR_SECONDS = _histogram(
    "gostack_projector_batch_seconds", "projector", "seconds to fold and store a batch of events", SECONDS
)
PROJECTOR_RECORDS = _histogram("gostack_projector_batch_records", "projector", "events in a batch", RECORDS)
JOB_SECONDS = _histogram(
    "gostack_job_seconds", "agent", "seconds a job took; `result` is `done` or the error's code", LONG_SECONDS,
    "job", "result",
)  # fmt: skip
DISPATCHES = _gauge("gostack_dispatches", "agent", "dispatches that run or wait, over all hosts of this process")
RULE_PACKETS, RULE_BYTES = (
    _of_rules(
        f"gostack_security_group_rule_{what}_total",
        f"{what} that a rule of a security group was the first of its group to permit on this host, since the host has "
        "had the rule",
    )
    for what in ("packets", "bytes")
)
REQUEST_SECONDS = _histogram(
    "gostack_api_request_seconds",
    "api",
    "seconds until a request was answered; `route` is the path's pattern below /v1; the live feed is left out",
    SECONDS,
    "method",
    "route",
    "status",
)
OVERLOADS = _counter(
    "gostack_api_overloads_total", "api", "requests answered 429 because a bound was reached, by bound", "bound"
)
HTTP_REFUSED = _counter(
    "gostack_http_refused_total",
    EVERYONE,
    "connections that an HTTP server of the process closed because a limit of the section `http` was passed, or the "
    "request was no HTTP; `why` is the code that was answered, where anything was",
    "server",
    "why",
)
LOAD = _gauge("gostack_api_load", "api", "the load that a bound limits, over all API processes", "bound")
VERDICTS_AWAITED = _gauge("gostack_api_verdicts_awaited", "api", "commands whose verdict requests are waiting for")
WEBHOOK_ATTEMPTS = _counter(
    "gostack_webhook_attempts_total",
    "webhooks",
    "attempts to send an event to a webhook: `taken` or `failed`",
    "result",
)
LOOP_RUNS = _counter(
    "gostack_loop_runs_total",
    EVERYONE,
    "runs of periodic work, by its name and how it ended: `success`; `failure`, which is tried again; `error`, which "
    "ends the process; `cancelled`, as the process ended",
    "loop",
    "result",
)
LOOP_SECONDS = _histogram(
    "gostack_loop_seconds",
    EVERYONE,
    "seconds that a run of periodic work took; work that is spread over hosts takes as long as its period",
    LONG_SECONDS,
    "loop",
)
LOOP_SUCCESS = _gauge(
    "gostack_loop_last_success_timestamp_seconds",
    EVERYONE,
    "when periodic work last succeeded, in seconds since 1970 UTC",
    "loop",
)
SPANS = _counter(
    "gostack_spans_total", "all", "spans that the collector of traces accepted (`sent`), or did not (`lost`)", "result"
)

EVERY = ("process_start_time_seconds", "process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds")
"""Metrics that prometheus_client itself has of each process; a changed start time is a restart."""


def page() -> str:
    """Return every metric as a page in Markdown, for docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "Printed from the table in `infra/process/metrics.py` (`python -m infra.process.metrics`); a test holds this "
        "page to it.",
        "",
        "Each process serves `/metrics` for Prometheus, `/healthz` and `/readyz` at `metrics.listen` and its own port",
        "of the section `metrics` in [Settings](settings.md); 0, the default, serves none. Several of a kind on one",
        "machine each need a port of their own (`GOSTACK_METRICS__ENGINE=7479 gostack engine`). The local cluster",
        "serves them at 7471 (engine), 7472 (scheduler), 7473 (timers), 7474 (projector), 7475 (api), 7476 (agents,",
        "each at its host's address) and 7477 (webhooks). A dashboard for Grafana is in",
        "[infra/grafana](../infra/grafana/gostack.json); what to watch, and what to do, in",
        "[Operations](operations.md#what-to-watch).",
        "",
        "| name | kind | labels | of | meaning |",
        "|---|---|---|---|---|",
    ]
    for each in METRICS:
        labels = ", ".join(f"`{label}`" for label in each.labels)
        lines.append(f"| `{each.name}` | {each.kind} | {labels} | {each.processes} | {each.meaning} |")
    lines += ["", f"And of each process: {', '.join(f'`{name}`' for name in EVERY)}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
