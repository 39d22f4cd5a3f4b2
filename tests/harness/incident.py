"""An incident that was exported (`gs event export`), as what was given: for a test that begins where it ended."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from domain import catalog
from domain.aggregates import AGGREGATES
from domain.core.messages import Envelope, Event, Key, Record, Topic, from_record

FORMAT, VERSION = "gostack-incident", 1
KEPT = Path(__file__).parents[1] / "incidents"
"""Where incidents that tests begin with are kept."""


@dataclass(frozen=True)
class Incident:
    """What is in a file."""

    about: dict[str, str]
    made: datetime
    events: list[Envelope]
    """By time, each aggregate's in its own order from its first on."""
    asked_for: list[Envelope]
    """Those that the export was asked for; the others are what was before."""
    records: list[Record]
    """The events as they lie on a log; nobody can read from there what begins with a state."""
    begins: dict[Key, tuple[int, Any]]
    """Version and state of aggregates whose first events are not in the file: they were too many."""

    @classmethod
    def of(cls, text: str | bytes) -> "Incident":
        """Raises ValueError for another format or version, UnknownMessage for an event that nobody knows any more."""
        assert catalog.MESSAGES
        document = orjson.loads(text)
        if (document["format"], document["version"]) != (FORMAT, VERSION):
            raise ValueError(f"{document['format']} {document['version']} is not {FORMAT} {VERSION}")
        records = [_record(each) for each in document["events"]]
        events = [from_record(each) for each in records]
        by_id = {each.id: each for each in events}
        return cls(
            about=document["about"],
            made=datetime.fromisoformat(document["made"]),
            events=events,
            asked_for=[by_id[ident] for ident in document["incident"]],
            records=records,
            begins={
                (key := Key.parse(subject)): (
                    begin["version"],
                    AGGREGATES[key.kind].state.model_validate(begin["state"]),
                )
                for subject, begin in document.get("begins", {}).items()
            },
        )

    @classmethod
    def kept(cls, name: str) -> "Incident":
        """One of those in tests/incidents."""
        return cls.of((KEPT / f"{name}.json").read_bytes())

    @property
    def subjects(self) -> list[Key]:
        """All that it touched."""
        return list(dict.fromkeys(each.subject for each in self.events))

    def states(self) -> dict[Key, Any]:
        """Each aggregate as its events make it. Raises ValueError where one is missing."""
        found = dict(self.begins)
        for each in self.events:
            if each.aggversion is None:
                continue
            version, state = found.get(each.subject, (0, None))
            if each.aggversion != version + 1:
                raise ValueError(f"{each.subject}: version {each.aggversion} follows {version}")
            assert isinstance(each.data, Event)
            evolve = AGGREGATES[each.subject.kind].evolve
            found[each.subject] = (each.aggversion, evolve(state, each.data, each.subject.id))
        return {key: state for key, (_, state) in found.items()}


def _record(event: dict[str, Any]) -> Record:
    """As the log would give it. What an export leaves out, nobody folds."""
    said = {
        "ce_specversion": "1.0",
        "ce_id": event["id"],
        "ce_type": event["type"],
        "ce_source": "gostack/incident",
        "ce_subject": event["subject"],
        "ce_time": event["time"],
        "ce_correlationid": event["correlation_id"],
        "ce_taskid": "" if "task_id" in event["data"] else event["task_id"],
        "ce_causationid": event["causation_id"],
        "ce_actor": event["actor"],
        "ce_project": event["project_id"],
        "ce_aggversion": str(event["version"] or ""),
        "ce_verdict": event["verdict"],
    }
    return Record(
        topic=Topic.EVENTS,
        key=Key.parse(event["subject"]).id.encode(),
        value=orjson.dumps(event["data"]),
        headers=tuple((name, value.encode()) for name, value in said.items() if value),
    )
