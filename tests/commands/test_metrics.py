"""What a worker's steps leave in its metrics."""

from dataclasses import replace

import pytest

from domain.core.messages import Record, Topic
from domain.flavor import UpdateFlavor
from domain.parking import ReleaseAggregate
from infra.db.write_store import measure_backlog
from infra.log.log import LogUnavailable
from tests.commands.bench import BOOM, SMALL, Bench, Explosive, about, started
from tests.harness.metrics import counted, value


def engines(name: str, **labels: object) -> float:
    return counted(name, process="engine", **labels)


async def test_a_step_is_measured_by_the_records_that_were_new() -> None:
    bench = await started()
    names = ("gostack_step_records_count", "gostack_step_records_sum", "gostack_step_seconds_count")
    before = [engines(name) for name in names]
    await (await bench.send(about(SMALL), about(SMALL, 2, 2), about(SMALL))).step()
    assert [engines(name) - was for name, was in zip(names, before, strict=True)] == [1, 2, 1]


@pytest.mark.parametrize(
    ("verdict", "code", "second"),
    [
        ("accepted", "", UpdateFlavor(core=2)),
        ("already", "", UpdateFlavor(core=1)),
        ("refused", "already-exists", SMALL),
    ],
)
async def test_a_verdict_is_counted_by_what_it_says(verdict: str, code: str, second: object) -> None:
    bench = await started()
    await (await bench.send(about(SMALL))).step()
    command = about(second, 1, 2)  # type: ignore[arg-type]
    labels = {"command": command.data.type_name, "verdict": verdict, "code": code}
    before = engines("gostack_verdicts_total", **labels)
    await (await bench.send(command)).step()
    assert engines("gostack_verdicts_total", **labels) == before + 1
    await bench.step()
    assert engines("gostack_verdicts_total", **labels) == before + 1, "what is repeated is no verdict"


async def test_what_is_dead_or_parked_is_told_until_it_is_released() -> None:
    bench = await started(rules=Explosive())
    before = engines("gostack_dead_records_total")
    await (await bench.send(about(SMALL), about(BOOM, 1, 2))).step()
    await bench.log.publish([Record(Topic.COMMANDS, b"k", b"nonsense", partition=1)])
    await bench.step()
    assert engines("gostack_dead_records_total") == before + 2
    refused = {"command": BOOM.type_name, "verdict": "refused", "code": "parked"}
    assert engines("gostack_verdicts_total", **refused) >= 1
    await measure_backlog("engine", bench.write_store)
    assert value("gostack_parked_aggregates", process="engine") == 1
    await (await bench.send(replace(about(ReleaseAggregate(), 1, 3), reason="mended"))).step()
    await measure_backlog("engine", bench.write_store)
    assert value("gostack_parked_aggregates", process="engine") == 0


async def test_what_the_log_does_not_take_is_told_though_whoever_decided_it_has_ended() -> None:
    bench = await started()
    await measure_backlog("engine", bench.write_store)
    assert value("gostack_outbox_records", process="engine") == 0
    await bench.send(about(SMALL), about(SMALL, 2, 2))
    bench.log.room = 0
    with pytest.raises(LogUnavailable):
        await bench.step()
    after = Bench(bench.write_store, bench.log)
    with pytest.raises(LogUnavailable):
        await after.start()
    await measure_backlog("engine", bench.write_store)
    assert value("gostack_outbox_records", process="engine") == 2
    bench.log.room = None
    await after.start()
    await measure_backlog("engine", bench.write_store)
    assert value("gostack_outbox_records", process="engine") == 0
