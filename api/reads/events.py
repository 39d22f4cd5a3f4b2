"""Events as JSON, alike whether they come from history or straight from the log."""

from datetime import datetime

import orjson

from domain.core.messages import Record
from projections.store.port import HistoryEntry


def entry_json(entry: HistoryEntry) -> bytes:
    """Return an event of the history as JSON."""
    about = {
        "id": entry.id,
        "type": entry.type,
        "subject": str(entry.subject),
        "version": entry.version,
        "time": entry.time,
        "actor": entry.actor,
        "project_id": entry.project,
        "task_id": entry.task,
        "correlation_id": entry.correlation,
        "causation_id": entry.causation,
        "verdict": entry.verdict,
        "place": {"topic": entry.topic, "partition": entry.partition, "offset": entry.offset},
    }
    return _with_data(about, entry.data)


def record_json(record: Record) -> bytes:
    """Return an event of the log as JSON. Its data is unchanged: a client may know types that this process does not.

    Raises an error of domain.core.event_filter.UNREADABLE if the record is no event.
    """
    headers = {name: value.decode() for name, value in record.headers}
    data = orjson.loads(record.value)
    about = {
        "id": headers["ce_id"],
        "type": headers["ce_type"],
        "subject": headers["ce_subject"],
        "version": int(headers.get("ce_aggversion", "0")),
        "time": datetime.fromisoformat(headers["ce_time"]),
        "actor": headers.get("ce_actor", ""),
        "project_id": headers.get("ce_project", ""),
        "task_id": data.get("task_id", "") or headers.get("ce_taskid", ""),
        "correlation_id": headers.get("ce_correlationid", ""),
        "causation_id": headers.get("ce_causationid", ""),
        "verdict": headers.get("ce_verdict", ""),
        "place": {"topic": record.topic, "partition": record.partition, "offset": record.offset},
    }
    return _with_data(about, record.value)


def _with_data(about: dict[str, object], data: bytes) -> bytes:
    return orjson.dumps(about)[:-1] + b',"data":' + data + b"}"
