"""The connection against libvirt's own in-memory driver, which needs neither QEMU nor a daemon."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("libvirt", reason="libvirt is not installed")

import libvirt

from agent.drivers.driver import DriverError
from agent.drivers.libvirt.connection import Connection


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


def nothing(_: str) -> None:
    pass


async def test_it_reports_what_happens_to_a_guest_and_not_to_its_definition(executor: ThreadPoolExecutor) -> None:
    seen: list[str] = []
    connection = Connection("test:///default", executor, seen.append, nothing)
    await connection.call(lambda libvirtd: libvirtd.defineXML(libvirtd.lookupByName("test").XMLDesc()))
    assert seen == []
    await connection.call(lambda libvirtd: libvirtd.lookupByName("test").destroy())
    for _ in range(50):
        if seen:
            break
        await asyncio.sleep(0.02)
    assert seen == ["test"]
    await asyncio.to_thread(connection.close)


async def test_a_refusal_is_a_driver_error(executor: ThreadPoolExecutor) -> None:
    connection = Connection("test:///default", executor, nothing, nothing)
    with pytest.raises(DriverError, match="refused it") as caught:
        await connection.call(lambda libvirtd: libvirtd.lookupByName("absent"))
    assert caught.value.code == "hypervisor-refused"
    assert "not found" in caught.value.inside
    await asyncio.to_thread(connection.close)


async def test_a_lost_connection_is_made_anew_by_the_next_call(executor: ThreadPoolExecutor) -> None:
    connection = Connection("test:///default", executor, nothing, nothing)

    def lose(libvirtd: libvirt.virConnect) -> None:
        libvirtd.close()
        raise libvirt.libvirtError("the daemon went away")

    with pytest.raises(DriverError) as caught:
        await connection.call(lose)
    assert caught.value.code == "hypervisor-unreachable"
    assert await connection.call(lambda libvirtd: libvirtd.getHostname())
    await asyncio.to_thread(connection.close)


async def test_no_daemon_is_said_after_a_few_attempts(executor: ThreadPoolExecutor) -> None:
    connection = Connection("qemu+unix:///system?socket=/nonexistent/sock", executor, nothing, nothing)
    with pytest.raises(DriverError, match=r"^the hypervisor does not answer$") as caught:
        await connection.call(lambda libvirtd: libvirtd.getHostname())
    assert caught.value.code == "hypervisor-unreachable"
    assert "nonexistent" in caught.value.inside
