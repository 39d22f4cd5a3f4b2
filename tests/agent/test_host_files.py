import uuid
from pathlib import Path

import pytest

from agent.drivers import host_command
from agent.drivers.driver import DriverError
from agent.drivers.libvirt import console, kvm
from agent.drivers.libvirt.instance_files import HostFiles

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


def test_an_address_is_the_last_ones_it_was_given_to(files: HostFiles) -> None:
    files.give_address("10.0.0.5", ONE)
    files.give_address("10.0.0.5", OTHER)
    files.take_address("10.0.0.5", ONE)
    assert files.owner("10.0.0.5") == OTHER
    files.take_address("10.0.0.5", OTHER)
    files.take_address("10.0.0.5", OTHER)
    assert files.owner("10.0.0.5") == ""


def test_the_end_of_a_console_reaches_into_the_file_before(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    assert console.tail(log, 10) == b""
    log.write_bytes(b"new")
    assert console.tail(log, 2) == b"ew"
    assert console.tail(log, 10) == b"new"
    (tmp_path / "console.log.0").write_bytes(b"older ")
    assert console.tail(log, 6) == b"er new"


def test_a_program_that_fails_says_why() -> None:
    with pytest.raises(DriverError, match="ended with 3: broken") as caught:
        host_command.run("sh", "-c", "echo broken >&2; exit 3")
    assert caught.value.code == "host-command-failed"
    assert host_command.run("sh", "-c", "exit 3", fails=(3,)) is None
    with pytest.raises(DriverError, match="no-such-program"):
        host_command.run("no-such-program")


def test_kvm_needs_the_processors_extensions_and_not_only_its_device(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu sse2\n")
    assert not kvm.usable(Path("/dev/null"), cpuinfo)
    cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu svm\n")
    assert not kvm.usable(Path("/dev/null"), cpuinfo), "a device that creates no machines"
    assert not kvm.usable(tmp_path / "absent", cpuinfo)
