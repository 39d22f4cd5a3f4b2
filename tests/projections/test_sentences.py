"""What an event says to people is in plain words: names of messages are for programs."""

from datetime import UTC, datetime

from domain.core.messages import Event, Key
from domain.tasks.events import CommandRefused, StepFailed, StepsFinished
from domain.tasks.task import Direction, Fault
from projections.history.sentences import describe
from projections.store.port import HistoryEntry

TASK = "6b1c2f52-3b1e-4c58-9d0f-5a0de2a3f7b1"


def said(event: Event) -> str:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    where = ("gostack.events", 0, 0)
    entry = HistoryEntry(
        Key("instance", TASK), 1, TASK, event.type_name, moment, *where, "ann", "admin", TASK, TASK, TASK, "", b"{}"
    )
    return describe(entry, event)


def test_a_refused_command_is_called_as_people_call_it() -> None:
    refused = CommandRefused(command="gostack.instance.hard-reboot.v1", code="parked", message="it is parked")
    assert said(refused) == "ann's hard-reboot was refused: it is parked"


def test_steps_are_called_as_their_jobs_also_where_an_event_has_the_name_of_a_message() -> None:
    done = StepsFinished(
        task_id=TASK,
        direction=Direction.FORWARD,
        steps=(0, 1),
        jobs=("Place", "gostack.network.bind-port.v1"),
        facts=(),
    )
    assert said(done) == "Place, bind-port were done."
    fault = Fault(code="no-address-left", message="none is left", step="gostack.network.bind-port.v1")
    failed = StepFailed(task_id=TASK, direction=Direction.FORWARD, step=1, fault=fault, to_undo=())
    assert said(failed) == "bind-port failed: none is left"
