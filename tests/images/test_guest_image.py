"""The guest image, started for real under emulation.

Every test of a whole cloud reads these console lines; when one of them is wrong, it should be this file that says so.
"""

import base64
import io
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import pycdlib
import pytest

from infra.images.build import GUEST, build

START_TIMEOUT = 90.0  # seconds; a loaded machine without hardware virtualization
STOP_TIMEOUT = 20.0
UUID = "5b1f0a7c-4a55-4d4c-9a0e-0d6a5d3f8f11"
MAC = "52:54:00:12:34:56"
PASSWORD = 'se"c\\ret é'
KEYS = {"laptop": "ssh-ed25519 AAAAC3Nza one@example", "desk": "ssh-rsa AAAAB3Nza two@example"}
USER_DATA = "#!/bin/bash\necho user data ran as $(id -un)\ncat /root/.ssh/authorized_keys\nexit 7\n"


# --- the JSON reader ---------------------------------------------------------------------------------------------


def read_json(text: str, path: str) -> tuple[int, str]:
    """The exit status and the output of the guest's reader."""
    command = ["busybox", "awk", "-v", f"want={path}", "-f", str(GUEST / "lib/gostack/json.awk")]
    # C, as in the guest: bytes, not characters.
    done = subprocess.run(command, input=text.encode(), capture_output=True, env={"LC_ALL": "C", "PATH": "/bin"})
    return done.returncode, done.stdout.decode()


@pytest.fixture
def busybox() -> None:
    if shutil.which("busybox") is None:
        pytest.skip("busybox is not installed")


NASTY = [
    "plain",
    "",
    " leading and trailing ",
    'quotes " and \\ backslashes \\\\" and a slash /',
    '"uuid": "not this one"',
    "braces }{][,: and 'single' $(quotes) `too` %s %d & \\1",
    "tab\tand\nline\r\x01\x1f",
    "é ß € 漢 😀 \ufffd",
    "null",
    "\\u0041 is not an A",
    "x" * 20_000,
]


@pytest.mark.usefixtures("busybox")
@pytest.mark.parametrize("value", NASTY)
@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_value_comes_out_as_it_went_in(value: str, ascii_only: bool, indent: int | None) -> None:
    document = {"before": {"key": "decoy"}, value[:30] + "!": [value, {"key": value}], "key": value, "after": value}
    text = json.dumps(document, ensure_ascii=ascii_only, indent=indent)
    assert read_json(text, "key") == (0, value + "\n")


@pytest.mark.usefixtures("busybox")
@pytest.mark.parametrize(
    ("text", "path", "answer"),
    [
        ('{"a": {"b": [1, -2.5e3, true]}}', "a/b/1", (0, "-2.5e3\n")),
        ('{"a": {"b": [1, -2.5e3, true]}}', "a/b/*", (0, "1\n-2.5e3\ntrue\n")),
        ('{"keys": {"one": "1", "t/w\\"o": "2"}}', "keys/*", (0, "1\n2\n")),
        ('{"a": null}', "a", (1, "")),
        ('{"a": {}}', "a", (1, "")),
        ('{"a": {"b": "deeper"}}', "b", (1, "")),
        ('{"a": "\\u0000x\\ud800y"}', "a", (0, "x\ufffdy\n")),
        ("{}", "a", (1, "")),
    ],
)
def test_a_path_finds_what_stands_there(text: str, path: str, answer: tuple[int, str]) -> None:
    assert read_json(text, path) == answer


@pytest.mark.usefixtures("busybox")
@pytest.mark.parametrize(
    "text",
    ["", "{", '{"a": 1,}', '{"a" 1}', '{"a": "b"} x', '{"a": "b"', '{"a": "\\x"}', '{"a": "\\u12g4"}', '{"a": 01}',
     '{a: 1}', "[1 2]", '{"a": "b', "[" * 1000 + "]" * 1000, "<html>not found</html>"],
)  # fmt: skip
def test_what_is_not_json_gives_nothing(text: str) -> None:
    assert read_json(text, "a") == (2, "")


# --- the machine -------------------------------------------------------------------------------------------------


class Machine:
    """A virtual machine with its console, monitor and guest agent."""

    def __init__(
        self,
        folder: Path,
        disk: Path,
        config_drive: Path | None = None,
        memory: int = 128,
        network: str = "user,id=net",
        others: Sequence[str] = (),
    ) -> None:
        self._folder = folder
        self.console_log = folder / "console.log"
        self.console_log.unlink(missing_ok=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        command = [
            "qemu-system-x86_64", "-accel", "tcg", "-machine", "pc", "-m", str(memory), "-display", "none",
            "-nodefaults", "-vga", "std", "-uuid", UUID,
            "-drive", f"file={disk},if=virtio,format=qcow2",
            "-netdev", f"{network},hostfwd=tcp:127.0.0.1:{self.port}-:80",
            "-device", f"virtio-net-pci,netdev=net,mac={MAC}",
            "-device", "virtio-rng-pci", "-device", "virtio-balloon-pci", "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=agent,path={folder}/agent,server=on,wait=off",
            "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
            "-chardev", f"socket,id=console,path={folder}/console,server=on,wait=off,logfile={self.console_log}",
            "-serial", "chardev:console",
            "-qmp", f"unix:{folder}/monitor,server=on,wait=off",
        ]  # fmt: skip
        if config_drive:
            command += ["-drive", f"file={config_drive},if=ide,media=cdrom,format=raw,readonly=on"]
        self.process = subprocess.Popen([*command, *others])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def console(self) -> list[str]:
        """The console's lines so far."""
        text = self.console_log.read_bytes().decode(errors="replace") if self.console_log.exists() else ""
        return [line.strip("\r") for line in text.split("\n")]

    def wait_for(self, line: str, timeout: float = START_TIMEOUT) -> None:
        """Until the line stands on the console, alone."""
        deadline = time.monotonic() + timeout
        while line not in self.console:
            assert self.process.poll() is None, "the machine ended\n" + "\n".join(self.console)
            assert time.monotonic() < deadline, f"no line {line!r} in\n" + "\n".join(self.console)
            time.sleep(0.1)

    def wait_for_text(self, text: str, timeout: float = START_TIMEOUT) -> None:
        """Until the text stands somewhere on the console."""
        deadline = time.monotonic() + timeout
        while not any(text in line for line in self.console):
            assert time.monotonic() < deadline, f"no {text!r} in\n" + "\n".join(self.console)
            time.sleep(0.1)

    def type(self, line: str) -> None:
        """Send a line to the serial console."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(f"{self._folder}/console")
            connection.sendall(line.encode() + b"\r")
            time.sleep(0.5)

    def monitor(self, command: str, **arguments: Any) -> Any:
        """One command to the machine's monitor."""
        with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rw") as stream:
            connection.connect(f"{self._folder}/monitor")
            stream.readline()
            for name, values in (("qmp_capabilities", {}), (command, arguments)):
                answer = _exchange(stream, {"execute": name, "arguments": values})
        return answer

    def agent(self, command: str, **arguments: Any) -> Any:
        """One command to the guest agent."""
        with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rw") as stream:
            connection.settimeout(30)
            connection.connect(f"{self._folder}/agent")
            return _exchange(stream, {"execute": command, "arguments": arguments})

    def wait_for_end(self) -> None:
        """Until the machine is off."""
        self.process.wait(STOP_TIMEOUT)


def _exchange(stream: Any, command: dict[str, Any]) -> Any:
    stream.write(json.dumps(command) + "\n")
    stream.flush()
    # Events come in between.
    while True:
        answer = json.loads(stream.readline())
        assert "error" not in answer, answer
        if "return" in answer:
            return answer["return"]


@pytest.fixture(scope="session")
def image(request: pytest.FixtureRequest) -> Path:
    """The image, built once for as long as its sources stay the same."""
    assert request.config.cache is not None
    output = request.config.cache.mkdir("guest-image") / "guest.qcow2"
    build(output)
    return output


@pytest.fixture
def disk(image: Path, tmp_path: Path) -> Path:
    return overlay(image, tmp_path / "disk.qcow2")


def overlay(image: Path, disk: Path) -> Path:
    """A disk that starts as the image and leaves it as it is."""
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(image), str(disk), "1G"]
    subprocess.run(command, check=True)
    return disk


METADATA = {
    "uuid": UUID,
    "meta": {"hostname": "decoy", "note": 'a "quoted" one'},
    "hostname": "web-1",
    "name": "Web 1",
    "admin_pass": PASSWORD,
    "public_keys": KEYS,
}


@pytest.fixture
def config_drive(tmp_path: Path) -> Path:
    return make_config_drive(tmp_path / "config.iso", USER_DATA)


def make_config_drive(drive: Path, user_data: str) -> Path:
    """An ISO 9660 image as OpenStack lays out a config drive."""
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, rock_ridge="1.09", joliet=3, vol_ident="config-2")
    iso.add_directory("/OPENSTAC", rr_name="openstack", joliet_path="/openstack")
    iso.add_directory("/OPENSTAC/LATEST", rr_name="latest", joliet_path="/openstack/latest")
    for name, text in (("meta_data.json", json.dumps(METADATA)), ("user_data", user_data)):
        data = text.encode()
        path = f"/OPENSTAC/LATEST/{name.upper().split('.')[0][:8]}.;1"
        iso.add_fp(io.BytesIO(data), len(data), path, rr_name=name, joliet_path=f"/openstack/latest/{name}")
    iso.write(str(drive))
    iso.close()
    return drive


@pytest.fixture
def started(tmp_path: Path, disk: Path, config_drive: Path) -> Iterator[Machine]:
    with Machine(tmp_path, disk, config_drive) as machine:
        machine.wait_for("gostack-guest: ready")
        yield machine


@pytest.mark.e2e
def test_an_unchanged_image_is_not_built_again(image: Path) -> None:
    assert not build(image)
    assert image.stat().st_size < 40 << 20


@pytest.mark.e2e
def test_the_guest_is_what_its_config_drive_says(started: Machine) -> None:
    lines = started.console
    assert f"gostack-guest: hostname=web-1 uuid={UUID}" in lines
    assert f"gostack-guest: address=10.0.2.15/24 dev=eth0 mac={MAC}" in lines
    assert "gostack-guest: boots=1" in lines
    assert f"gostack-guest: disk=vda bytes={1 << 30}" in lines
    assert "user data ran as root" in lines
    assert set(KEYS.values()) <= set(lines)
    assert "gostack-guest: user_data=7" in lines
    with urllib.request.urlopen(f"http://127.0.0.1:{started.port}/", timeout=20) as page:
        assert b"web-1" in page.read()


@pytest.mark.e2e
def test_the_power_button_ends_it_and_the_disk_stays(
    image: Path, tmp_path: Path, disk: Path, config_drive: Path
) -> None:
    for boots in (1, 2):
        with Machine(tmp_path, disk, config_drive) as machine:
            machine.wait_for("gostack-guest: ready")
            assert f"gostack-guest: boots={boots}" in machine.console
            machine.monitor("system_powerdown")
            machine.wait_for_end()
            assert "gostack-guest: powering off" in machine.console
    overlay(image, disk)
    with Machine(tmp_path, disk, config_drive) as machine:
        machine.wait_for("gostack-guest: boots=1")


@pytest.mark.e2e
def test_login_takes_the_password_and_the_agent_changes_it(started: Machine) -> None:
    def log_in(password: str) -> None:
        started.type("root")
        started.wait_for_text("Password:")
        time.sleep(1)
        started.type(password)

    started.wait_for_text("web-1 login:")
    log_in("wrong")
    started.wait_for("Login incorrect")
    log_in(PASSWORD)
    time.sleep(2)
    started.type("echo shell of $(hostname)")
    started.wait_for("shell of web-1", timeout=20)

    assert started.agent("guest-ping") == {}
    assert started.agent("guest-fsfreeze-status") == "thawed"
    started.agent("guest-fsfreeze-freeze")
    started.agent("guest-fsfreeze-thaw")
    changed = base64.b64encode(b"changed").decode()
    started.agent("guest-set-user-password", username="root", password=changed, crypted=False)
    started.type("exit")
    time.sleep(3)
    log_in("changed")
    time.sleep(2)
    started.type("echo again $(hostname)")
    started.wait_for("again web-1", timeout=20)


@pytest.mark.e2e
def test_a_guest_without_metadata_starts_and_restarts(tmp_path: Path, disk: Path) -> None:
    with Machine(tmp_path, disk, memory=96) as machine:
        machine.wait_for("gostack-guest: ready")
        assert f"gostack-guest: hostname=gostack uuid={UUID}" in machine.console
        keys = [{"type": "qcode", "data": key} for key in ("ctrl", "alt", "delete")]
        machine.monitor("send-key", keys=keys)
        machine.wait_for("gostack-guest: rebooting", STOP_TIMEOUT)
        machine.wait_for("gostack-guest: boots=2")


@pytest.mark.e2e
def test_a_disk_and_an_interface_attached_while_it_runs_are_told(started: Machine, tmp_path: Path) -> None:
    size = 8 << 20
    volume = tmp_path / "volume.raw"
    volume.write_bytes(b"\0" * size)
    started.monitor("blockdev-add", **{"driver": "file", "node-name": "volume", "filename": str(volume)})
    started.monitor("device_add", driver="virtio-blk-pci", drive="volume", id="volume")
    started.wait_for(f"gostack-guest: disk=vdb bytes={size}", timeout=20)
    started.monitor("device_del", id="volume")
    started.wait_for("gostack-guest: disk=vdb removed", timeout=20)
    started.monitor("netdev_add", type="user", id="second", net="10.0.3.0/24")
    started.monitor("device_add", driver="virtio-net-pci", netdev="second", mac="52:54:00:12:34:57")
    started.wait_for("gostack-guest: address=10.0.3.15/24 dev=eth1 mac=52:54:00:12:34:57", timeout=30)


# Answers one request, on standard input and output, as the metadata service would.
METADATA_SERVICE = """
import sys
path = sys.stdin.readline().split()[1]
text = {answers!r}.get(path)
status = "404 Not Found" if text is None else "200 OK"
sys.stdout.write(f"HTTP/1.0 {{status}}\\r\\nConnection: close\\r\\n\\r\\n{{text or ''}}")
"""


@pytest.mark.e2e
def test_the_metadata_service_stands_in_for_a_config_drive(tmp_path: Path, disk: Path) -> None:
    answers = {
        "/openstack/latest/meta_data.json": json.dumps(METADATA | {"hostname": "from-service"}),
        "/openstack/latest/user_data": "#!/bin/sh\necho user data of $(hostname)\n",
    }
    service = tmp_path / "service.py"
    service.write_text(METADATA_SERVICE.format(answers=answers))
    command = f"{sys.executable} {service}"
    network = f"user,id=net,net=169.254.169.0/24,guestfwd=tcp:169.254.169.254:80-cmd:{command}"
    with Machine(tmp_path, disk, network=network) as machine:
        machine.wait_for("gostack-guest: ready")
        assert f"gostack-guest: hostname=from-service uuid={UUID}" in machine.console
        assert "user data of from-service" in machine.console


@pytest.mark.e2e
def test_networks_that_do_not_answer_hold_it_up_only_so_long(tmp_path: Path, disk: Path, config_drive: Path) -> None:
    silent = [
        option
        for name in ("one", "two")
        for option in ("-netdev", f"hubport,id={name},hubid=1", "-device", f"virtio-net-pci,netdev={name}")
    ]
    # The config drive on the bus of the disks, where machines without IDE have it.
    drive = ["-drive", f"file={config_drive},if=virtio,format=raw,readonly=on"]
    network = "user,id=net,restrict=on"
    with Machine(tmp_path, disk, network=network, others=[*silent, *drive]) as machine:
        machine.wait_for("gostack-guest: ready")
        assert f"gostack-guest: hostname=web-1 uuid={UUID}" in machine.console
        assert [line for line in machine.console if "address=" in line] == [
            f"gostack-guest: address=10.0.2.15/24 dev=eth0 mac={MAC}"
        ]


@pytest.mark.e2e
def test_the_power_button_works_while_user_data_runs(tmp_path: Path, disk: Path) -> None:
    user_data = "#!/bin/sh\necho user data sleeps\nsleep 1000\n"
    with Machine(tmp_path, disk, make_config_drive(tmp_path / "config.iso", user_data)) as machine:
        machine.wait_for("user data sleeps")
        machine.monitor("system_powerdown")
        machine.wait_for_end()
        assert "gostack-guest: powering off" in machine.console
