"""What is worked on: it follows a coroutine, and says what an envelope is about."""

import asyncio
import contextvars
from datetime import UTC, datetime

from domain.core.messages import Envelope, Key, Message, named_id
from domain.instance.actions.power.stop import StopInstance
from domain.jobs.scheduling import PlaceInstance
from domain.tasks.messages import JobsAnswered, Reply
from infra.process import log_context

ID = named_id("test", "1")
TRACE = "0af7651916cd43dd8448eb211c80319c"


def envelope(data: Message, subject: Key, **more: str) -> Envelope:
    return Envelope(
        id=ID,
        data=data,
        subject=subject,
        time=datetime.now(UTC),
        source="test",
        correlation="c1",
        **more,  # type: ignore[arg-type]
    )


def test_nothing_is_worked_on_at_first() -> None:
    assert log_context.fields() == {}


def test_a_block_within_a_block_adds_to_it() -> None:
    with log_context.bound(task="t1"):
        with log_context.bound(job="StopGuest", host=""):
            assert log_context.fields() == {"task": "t1", "job": "StopGuest"}
        assert log_context.fields() == {"task": "t1"}
    assert log_context.fields() == {}


def test_a_note_ends_with_its_block() -> None:
    with log_context.bound(request="GET /"):
        log_context.bind(command="c1")
        assert log_context.fields() == {"request": "GET /", "command": "c1"}
    assert log_context.fields() == {}


def test_a_command_says_its_id_its_instance_and_its_place() -> None:
    command = envelope(StopInstance(), Key("instance", "i1"), traceparent=f"00-{TRACE}-b7ad6b7169203331-01")
    with log_context.handling(command, "gostack.commands:1:7"):
        assert log_context.fields() == {
            "type": "gostack.instance.stop.v1",
            "subject": "instance/i1",
            "instance": "i1",
            "command": ID,
            "correlation": "c1",
            "place": "gostack.commands:1:7",
            "trace": TRACE,
        }


def test_an_answer_says_its_task_and_its_host() -> None:
    answer = JobsAnswered(task_id="t1", dispatch_id="d1", host_id="h1", results=())
    with log_context.handling(envelope(answer, Key("instance", "i1"))):
        found = log_context.fields()
    assert (found["task"], found["host"], found["instance"]) == ("t1", "h1", "i1")


def test_what_asks_for_an_answer_says_whose_it_is() -> None:
    reply = Reply(subject="instance/i1", task_id="t1", dispatch_id="d1", job_id="j1")
    wish = PlaceInstance(reply=reply, instance_id="i1", project="p", vcpus=1, memory=1, disk=1)
    with log_context.handling(envelope(wish, Key("cell", "default"))):
        found = log_context.fields()
    assert (found["task"], found["instance"], found["subject"]) == ("t1", "i1", "cell/default")


def test_a_record_that_cannot_be_read_says_where_it_is() -> None:
    with log_context.handling(None, "gostack.jobs:0:1"):
        assert log_context.fields() == {"place": "gostack.jobs:0:1"}


async def test_it_follows_tasks_and_threads_and_no_others() -> None:
    async def look() -> dict[str, str]:
        return log_context.fields()

    with log_context.bound(task="t1"):
        inside = asyncio.create_task(look())
        context = contextvars.copy_context()
    assert await inside == {"task": "t1"}
    assert await asyncio.get_running_loop().run_in_executor(None, context.run, log_context.fields) == {"task": "t1"}
    assert await asyncio.create_task(look()) == {}


def test_only_a_trace_parent_has_a_trace() -> None:
    assert log_context.trace_id(f"00-{TRACE}-b7ad6b7169203331-01") == TRACE
    assert [log_context.trace_id(each) for each in ("", "x", "00-1-2-3")] == ["", "", ""]
