"""Aborts as they lie on the log: past what waits, and remembered by the next process."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.agent.bench import (
    abort_record,
    dispatch,
    ident,
    job_record,
    outcomes,
)
from tests.agent.site import Site, running


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path)
    async with running(made):
        yield made


async def test_an_abort_goes_past_what_waits(site: Site) -> None:
    gate = site.drivers["h1"].hold("StopGuest", ident(1))
    async with site.working() as service:
        host = site.host()
        first, second = (dispatch(number, 1, "StopGuest", host=host) for number in (1, 2))
        await site.world.log.publish([job_record(first, host), job_record(second, host)])
        await site.until(lambda: site.drivers["h1"].began("StopGuest"))
        await site.world.log.publish([abort_record(second, host)] * 2)
        await site.until(lambda: site.answers(second.dispatch_id))
        assert site.answers(first.dispatch_id) == []
        gate.set()
        await site.until(lambda: site.answers(first.dispatch_id) and not service._journal.pending())
        assert service._journal.aborted() == set()
    assert outcomes(site.answers(second.dispatch_id)[0]) == [("StopGuest", "aborted")]
    assert site.drivers["h1"].began("StopGuest") == [ident(1)]


async def test_an_abort_that_is_fetched_with_its_dispatch_keeps_it_from_beginning(site: Site) -> None:
    async with site.working() as service:
        host = site.host()
        stop = dispatch(1, 1, "StopGuest", host=host)
        for records in ([abort_record(stop, host), job_record(stop, host)], [abort_record(stop, host)]):
            await service.take(records)
        await site.until(lambda: site.answers(stop.dispatch_id))
        await service.take([job_record(stop, host), abort_record(stop, host)])
        await site.until(lambda: not service._journal.pending())
        assert service._journal.aborted() == set()
    assert len(site.answers(stop.dispatch_id)) == 1
    assert site.drivers["h1"].calls == []


async def test_an_abort_of_what_never_came_is_passed_by(site: Site) -> None:
    async with site.working() as service:
        await service.take([abort_record(dispatch(1, 1, "StopGuest"), site.host())])
        assert service._journal.aborted() == set()
    assert site.answers() == []


async def test_what_was_to_be_stopped_is_not_begun_by_the_next_process(site: Site) -> None:
    site.drivers["h1"].hold("RebootGuest", ident(1))
    async with site.working() as service:
        host = site.host()
        # Of a later epoch, as if the host had not been registered anew: that would keep it from beginning already.
        reboot = dispatch(1, 1, "RebootGuest", host=replace(host, epoch=9))
        await site.world.log.publish([job_record(reboot, host)])
        await site.until(lambda: site.drivers["h1"].began("RebootGuest"))
        await site.world.log.publish([abort_record(reboot, host)])
        await site.until(lambda: service._journal.aborted())
    assert site.answers() == []
    site.drivers["h1"].gates.clear()
    site.service = site.agent()
    async with site.working() as service:
        await site.until(lambda: site.answers(reboot.dispatch_id))
        await site.until(lambda: not service._journal.pending())
        assert service._journal.aborted() == set()
    (answer,) = site.answers(reboot.dispatch_id)
    assert outcomes(answer) == [("RebootGuest", "aborted")]
    assert answer.results[0].error is not None
    assert answer.results[0].error.ran
    assert site.drivers["h1"].began("RebootGuest") == [ident(1)]
