"""A real guest's boot through the agent, beside virsh with the same domain: what the agent adds to libvirt.

A host of its own (namespaces, its own libvirt daemon, QEMU by emulation). The agent's time is from the dispatch to
its answer: image, disk, drive, port, definition and start. virsh then defines and starts the same XML, whose disks are
there already, and is asked for nothing else; the difference is all that an agent has to do besides.
"""

import asyncio
import subprocess
import time
from typing import Any

from agent.drivers.libvirt.driver import LibvirtDriver
from agent.runner.journal import Journal
from agent.runner.runner import HostRunner
from domain import catalog
from tests.agent import private_host
from tests.agent.bench import HOST, NOTHING, Bench, dispatch, working
from tests.agent.samples import a_guest, an_image
from tests.benchmarks.processes import spread

BOOT = ("PrepareImage", "CreateDisk", "WriteConfigDrive", "PlugPorts", "DefineGuest", "StartGuest")
END = ("UndefineGuest", "UnplugPorts", "DeleteDisk")


class RealBench(Bench):
    """The workbench with libvirt under it."""

    patience = 60.0
    """The first guest has the emulator read from the disk."""

    def __init__(self, driver: LibvirtDriver, journal: Journal) -> None:
        super().__init__(journal=journal)
        self.runner = HostRunner(HOST, driver, journal, self.sender, NOTHING, self.clock, 4, asyncio.Semaphore(4))


def _virsh(uri: str, *words: str) -> float:
    begin = time.perf_counter()
    subprocess.run(["virsh", "-q", "-c", uri, *words], check=True, capture_output=True)
    return time.perf_counter() - begin


async def _measure(host: private_host.PrivateHost, rounds: int) -> dict[str, Any]:
    store = host.directory / "store"
    await asyncio.to_thread(store.mkdir, parents=True)
    image = an_image(store)
    driver = LibvirtDriver(host.uri, host.directory / "state", str(store), executor=host.executor())

    async def ignore(_: str) -> None:
        """Nobody waits for what guests do by themselves."""

    await driver.open(ignore)
    bench = RealBench(driver, Journal(host.directory / "journal.db"))
    agent, bare = [], []
    try:
        async with working(bench):
            # The first boot brings the image, makes the network and has libvirt probe its emulator.
            for number in range(rounds + 1):
                guest = a_guest(image, id=f"00000000-0000-4000-8000-{number:012}", config_drive=True)
                begin = time.perf_counter()
                (answer,) = await bench.answered_all(dispatch(2 * number, 0, *BOOT, instance_id=guest.id, guest=guest))
                seconds = time.perf_counter() - begin
                if failed := [result.error for result in answer.results if result.error]:
                    raise RuntimeError(f"the boot failed: {failed}")
                domain = f"gs-{guest.id}"
                path = host.directory / "domain.xml"
                xml = ["virsh", "-q", "-c", host.uri, "dumpxml", "--inactive", domain]
                done = await asyncio.to_thread(subprocess.run, xml, check=True, capture_output=True)
                await asyncio.to_thread(path.write_bytes, done.stdout)
                await asyncio.to_thread(_virsh, host.uri, "destroy", domain)
                await asyncio.to_thread(_virsh, host.uri, "undefine", "--nvram", domain)
                virsh = await asyncio.to_thread(_virsh, host.uri, "define", str(path))
                virsh += await asyncio.to_thread(_virsh, host.uri, "start", domain)
                if number:
                    agent.append(seconds * 1000)
                    bare.append(virsh * 1000)
                await bench.answered_all(dispatch(2 * number + 1, 0, *END, instance_id=guest.id, guest=guest))
    finally:
        await driver.close()
        bench.journal.close()
    return {
        "agent_ms": spread(agent),
        "virsh_ms": spread(bare),
        "over_virsh_ms": spread([all_ - virsh for all_, virsh in zip(agent, bare, strict=True)]),
    }


def measure(rounds: int = 7) -> dict[str, Any]:
    """Milliseconds a boot; empty where this machine cannot have a host of its own."""
    assert catalog.MESSAGES
    if private_host.missing():
        return {}
    with private_host.directory() as directory:
        host = private_host.PrivateHost(directory / "host")
        try:
            return asyncio.run(_measure(host, rounds))
        finally:
            host.close()


if __name__ == "__main__":
    print(measure())
