import asyncio
import time
from pathlib import Path

import pytest

from agent.drivers.driver import DriverError, Secrets
from agent.drivers.simulated.driver import SimulatedDriver
from agent.drivers.simulated.guest import CONSOLE_MOST
from domain.guest_spec import GuestSpec, ImageRef, Power
from infra.process.settings import Agent, Settings
from tests.agent.samples import a_guest
from tests.simulation.loop import simulate

IMAGE = ImageRef(id="i-1", name="tiny", checksum="ab" * 32, format="qcow2", size=1, virtual_size=1)


async def ignore(_: str) -> None:
    pass


async def built(driver: SimulatedDriver) -> GuestSpec:
    guest = a_guest(IMAGE)
    await driver.prepare_image(IMAGE)
    await driver.create_disk(guest)
    await driver.define(guest)
    await driver.start(guest.id)
    return guest


async def test_a_guest_says_on_its_console_what_a_real_one_would() -> None:
    driver = SimulatedDriver()
    guest = await built(driver)
    said = (await driver.console_log(guest.id, CONSOLE_MOST)).decode().splitlines()
    assert "gostack-guest: hostname=web-1" in said
    assert "gostack-guest: address=10.41.0.10/24 dev=eth0" in said
    assert said[-1] == "gostack-guest: ready"


async def test_a_console_does_not_grow_for_ever() -> None:
    driver = SimulatedDriver()
    guest = await built(driver)
    for _ in range(500):
        await driver.reboot(guest.id, 0)
    assert len(await driver.console_log(guest.id, 1 << 30)) == CONSOLE_MOST


async def test_failures_come_by_chance_and_again_the_same_from_the_same_seed() -> None:
    async def fails(seed: str) -> list[str]:
        driver = SimulatedDriver(failures={"PrepareImage": 0.5}, seed=seed)
        found = []
        for _ in range(64):
            try:
                await driver.prepare_image(IMAGE)
            except DriverError as problem:
                found.append(problem.code)
            else:
                found.append("")
        return found

    first = await fails("host-1")
    assert first == await fails("host-1")
    assert first != await fails("host-2")
    assert set(first) == {"", "simulated-failure"}
    assert 10 < first.count("") < 54


def test_a_failure_of_no_job_is_a_typing_error() -> None:
    with pytest.raises(ValueError, match="StratGuest"):
        SimulatedDriver(failures={"StratGuest": 1.0})


def test_a_job_takes_its_time() -> None:
    driver = SimulatedDriver.of(Settings(agent=Agent(latency=0.05)), "host-1")

    async def many() -> float:
        await asyncio.gather(*(driver.prepare_image(IMAGE) for _ in range(100)))
        return asyncio.get_running_loop().time()

    assert simulate(many()) == pytest.approx(0.05)


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "killed"])
async def test_a_host_with_a_file_has_its_guests_after_its_process_ended(tmp_path: Path, closed: bool) -> None:
    first = SimulatedDriver(path=tmp_path / "host.db")
    await first.open(ignore)
    guest, gone = await built(first), await built(first)
    await first.write_config_drive(guest, Secrets("geheim", b"#!/bin/sh"))
    await first.undefine(gone.id)
    await first.delete_disk(gone.id)
    if closed:
        await first.close()
    second = SimulatedDriver(path=tmp_path / "host.db")
    await second.open(ignore)
    assert await second.guests() == {guest.id: Power.RUNNING}
    assert b"ready" in await second.console_log(guest.id, 100)
    assert (await second.told(guest.id), await second.told(gone.id)) == (Secrets("geheim", b"#!/bin/sh"), None)
    await second.create_disk(guest)
    await second.close()
    await first.close()


async def test_thousands_of_hosts_cost_next_to_nothing() -> None:
    hosts = [SimulatedDriver(seed=str(number)) for number in range(2000)]
    began = time.process_time()
    for host in hosts:
        await built(host)
    assert time.process_time() - began < 2.0
