"""The copy of a root disk that is put aside: nothing of it is left where it was not made to its end."""

import asyncio
import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent.drivers.driver import DriverError
from agent.drivers.libvirt.instance_files import HostFiles, InstanceFiles
from agent.drivers.libvirt.resized_disk import LibvirtResizedDisks
from agent.jobs.handler import untold
from domain.guest_spec import Power
from tests.harness.waiting import until

GUEST = str(uuid.UUID(int=1))


class OfGuestOff(LibvirtResizedDisks):
    """A host whose guests are all off, and that no hypervisor has to tell."""

    def __init__(self, state: Path) -> None:
        self._files = HostFiles(state)
        self._copiers = ThreadPoolExecutor(1)

    async def power(self, instance_id: str) -> Power:
        return Power.SHUTDOWN


@pytest.fixture
def files(tmp_path: Path) -> InstanceFiles:
    made = HostFiles(tmp_path).instance(GUEST)
    made.make()
    return made


async def test_a_copy_that_is_stopped_leaves_the_disk_alone(tmp_path: Path, files: InstanceFiles) -> None:
    os.mkfifo(files.disk)
    keeping = asyncio.create_task(OfGuestOff(tmp_path).keep_disk(GUEST, untold))
    await until(copying)
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping
    assert [each.name for each in files.directory.iterdir()] == ["disk.qcow2"]


def copying() -> bool:
    """Whether this process has started one that copies, which has not ended."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return any(Path(f"/proc/{pid}/comm").read_text() == "cp\n" for pid in children)


async def test_a_copy_that_cannot_be_made_leaves_the_disk_alone(tmp_path: Path, files: InstanceFiles) -> None:
    files.disk.mkdir()
    with pytest.raises(DriverError) as caught:
        await OfGuestOff(tmp_path).keep_disk(GUEST, untold)
    assert caught.value.code == "host-command-failed"
    assert str(tmp_path) not in str(caught.value), "a task shows nothing of the host's own"
    assert "omitting directory" in caught.value.inside
    assert [each.name for each in files.directory.iterdir()] == ["disk.qcow2"]


async def test_a_copy_is_a_file_of_its_own_whoever_still_writes_to_an_earlier_one(
    tmp_path: Path, files: InstanceFiles
) -> None:
    files.disk.write_bytes(b"what the guest has")
    with files.copied_disk.open("wb") as earlier:
        await OfGuestOff(tmp_path).keep_disk(GUEST, untold)
        earlier.write(b"too late")
    assert files.disk.read_bytes() == files.old_disk.read_bytes() == b"what the guest has"


async def test_what_a_process_left_between_two_names_is_the_copy(tmp_path: Path, files: InstanceFiles) -> None:
    files.old_disk.write_bytes(b"as it was")
    files.copied_disk.write_bytes(b"the copy")
    for _ in range(2):
        await OfGuestOff(tmp_path).keep_disk(GUEST, untold)
    assert (files.disk.read_bytes(), files.old_disk.read_bytes()) == (b"the copy", b"as it was")
