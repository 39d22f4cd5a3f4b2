"""The step's spans: one a record that is traced, ended when what follows is on the log, carried by the outbox."""

from collections.abc import Iterator

import pytest

from domain.core.messages import Topic
from domain.flavor import UpdateFlavor
from infra.log.log import LogUnavailable
from tests.commands.bench import BOOM, SMALL, Bench, Explosive, about, ident, started
from tests.commands.test_recovery_from_log import lose_database
from tests.commands.test_timers import ONE, Desk
from tests.harness.spans import Spans, collected
from tests.harness.world import World

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
def spans() -> Iterator[Spans]:
    with collected() as found:
        yield found


async def test_only_what_is_traced_has_a_span_and_what_follows_is_below_it(spans: Spans) -> None:
    bench = await started()
    await (await bench.send(about(SMALL, 1, 1, traceparent=PARENT), about(SMALL, 2, 2))).step()
    (span,) = spans.all()
    assert (span.name, f"{span.context.trace_id:032x}") == ("decide flavor.create", TRACE)
    carried = {each.causation: each.traceparent for each in bench.on(Topic.EVENTS)}
    assert carried[ident(1001)].split("-")[1:3] == [TRACE, f"{span.context.span_id:016x}"]
    assert carried[ident(1002)] == ""


async def test_a_successor_publishes_with_the_same_headers(spans: Spans) -> None:
    bench = await started()
    await bench.send(about(SMALL, traceparent=PARENT))
    bench.log.room = 0
    with pytest.raises(LogUnavailable):
        await bench.step()
    ((_, unsent),) = await bench.write_store.unsent()
    bench.log.room = None
    await Bench(bench.write_store, bench.log).start()
    (event,) = bench.log.all(Topic.EVENTS)
    assert event.headers == unsent[0].headers
    assert dict(event.headers)["traceparent"].split(b"-")[1] == TRACE.encode()
    # What the dead worker had not ended is nobody's to tell.
    assert spans.all() == []


async def test_a_record_that_comes_again_has_no_second_span(spans: Spans) -> None:
    bench = await started()
    command = about(SMALL, traceparent=PARENT)
    await (await bench.send(command)).step()
    await (await bench.send(command)).step()
    assert len(spans.all()) == 1


async def test_what_cannot_be_decided_is_an_error_of_its_span(spans: Spans) -> None:
    bench = await started(rules=Explosive())
    await (await bench.send(about(SMALL))).step()
    await (await bench.send(about(BOOM, 1, 2, traceparent=PARENT))).step()
    (span,) = spans.all()
    assert span.status.description == "ZeroDivisionError: boom"


async def test_the_next_command_of_another_trace_is_below_its_own(spans: Spans) -> None:
    bench = await started()
    other = PARENT.replace(TRACE, TRACE[::-1])
    await (
        await bench.send(about(SMALL, traceparent=PARENT), about(UpdateFlavor(core=2), 1, 2, traceparent=other))
    ).step()
    assert [f"{each.context.trace_id:032x}" for each in spans.all()] == [TRACE, TRACE[::-1]]
    assert {each.parent.span_id for each in spans.all() if each.parent} == {0xB7AD6B7169203331}


async def test_a_deadline_begins_a_trace_once(spans: Spans) -> None:
    desk = Desk()
    await desk.due(ONE, 1)
    await desk.after(2).timers.look()
    await desk.timers.look()
    (span,) = spans.all()
    assert (span.name, span.parent) == ("tell deadline", None)
    assert (span.attributes or {})["gostack.instance"] == ONE.id
    first, again = desk.told()
    assert first.id == again.id
    assert first.traceparent.split("-")[2] == f"{span.context.span_id:016x}"


async def test_filling_a_database_anew_from_the_log_makes_no_span(spans: Spans) -> None:
    world = World()
    await world.start()
    await world.host("h1")
    await world.send(about(SMALL).subject, SMALL, traceparent=PARENT)
    assert spans.named("decide flavor.create")
    spans.exporter.clear()
    await lose_database(world)
    await world.settle()
    assert spans.all() == []
