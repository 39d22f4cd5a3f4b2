import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.compose import prepare
from agent.drivers import host_command
from agent.drivers.driver import DriverError
from agent.drivers.libvirt import console, kvm, root_disk
from agent.drivers.libvirt.instance_files import HostFiles
from agent.runner.journal import Journal
from domain.guest_spec import ImageRef
from infra.process.settings import Settings

ONE, OTHER = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))


@pytest.fixture
def files(tmp_path: Path) -> HostFiles:
    made = HostFiles(tmp_path / "state")
    made.make()
    return made


def test_an_instance_is_gone_when_its_directory_is(files: HostFiles) -> None:
    files.instance(ONE).make()
    files.instance(ONE).disk.touch()
    files.remove(ONE)
    files.remove(ONE)
    assert not files.instance(ONE).directory.exists()


@pytest.mark.parametrize("wrong", ["../..", "", "x", f"{ONE}/.."])
def test_what_is_no_id_never_becomes_a_path(files: HostFiles, wrong: str) -> None:
    with pytest.raises(ValueError, match="badly formed"):
        files.remove(wrong)


def _modes(top: Path) -> dict[str, int]:
    return {str(path.relative_to(top)): stat.S_IMODE(path.stat().st_mode) for path in top.rglob("*")}


@pytest.fixture
def umask() -> Iterator[None]:
    """The agent's is that of the whole process."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not here")
def test_a_guests_files_are_nobody_elses(tmp_path: Path, umask: None) -> None:
    settings = Settings()
    settings.agent = settings.agent.model_copy(update={"state": str(tmp_path / "state")})
    prepare(settings)
    files = HostFiles(tmp_path / "state")
    files.make()
    files.instance(ONE).make()
    cached = files.cache / ("a" * 64)
    cached.write_bytes(bytes(1 << 16))
    image = ImageRef(id=OTHER, name="tiny", checksum=cached.name, format="raw", size=1 << 16, virtual_size=1 << 16)
    root_disk.create(files.instance(ONE).disk, image, cached, 1 << 20)
    Journal(tmp_path / "state" / "journal.db").close()
    modes = _modes(tmp_path / "state")
    # A hypervisor that runs guests as a user of its own has to pass through to the disk that it is handed.
    passed = {"cache", "instances", f"instances/{ONE}", "volumes"}
    assert {path for path, mode in modes.items() if mode & 0o077} == passed
    assert {modes[path] for path in passed} == {0o711}
    assert (tmp_path / "state").stat().st_mode & 0o111 == 0o111


def test_files_of_an_earlier_release_are_closed_to_others(tmp_path: Path, umask: None) -> None:
    state = tmp_path / "state"
    files = HostFiles(state)
    files.make()
    files.instance(ONE).make()
    for path in (files.instance(ONE).disk, files.instance(ONE).old_disk, files.volumes / f"{ONE}.qcow2"):
        path.touch(mode=0o644)
    for name in ("journal.db", "journal.db-wal", "journal.db-shm"):
        (state / name).touch(mode=0o644)
    files.make()
    Journal(state / "journal.db").close()
    assert {mode for path, mode in _modes(state).items() if (state / path).is_file()} == {0o600}


def test_the_end_of_a_console_reaches_into_the_file_before(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    assert console.tail(log, 10) == b""
    log.write_bytes(b"new")
    assert console.tail(log, 2) == b"ew"
    assert console.tail(log, 10) == b"new"
    (tmp_path / "console.log.0").write_bytes(b"older ")
    assert console.tail(log, 6) == b"er new"


def test_a_program_that_fails_tells_users_a_sentence_and_operators_the_rest() -> None:
    with pytest.raises(DriverError) as caught:
        host_command.run("sh", "-c", "echo /state/broken >&2; exit 3")
    assert caught.value.code == "host-command-failed"
    assert str(caught.value) == "sh failed on the host; the log of the host's agent says why"
    assert caught.value.for_operators() == (
        f"host-command-failed: {caught.value} (sh -c echo /state/broken >&2; exit 3 ended with 3: /state/broken)"
    )
    assert host_command.run("sh", "-c", "exit 3", fails=(3,)) is None
    with pytest.raises(DriverError, match=r"^no-such-program cannot be run on the host$"):
        host_command.run("no-such-program")


def test_kvm_needs_the_processors_extensions_and_not_only_its_device(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu sse2\n")
    assert not kvm.usable(Path("/dev/null"), cpuinfo)
    cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu svm\n")
    assert not kvm.usable(Path("/dev/null"), cpuinfo), "a device that creates no machines"
    assert not kvm.usable(tmp_path / "absent", cpuinfo)
