"""Programs that read strangers' disks have limits, and are told what they read."""

import ast
import os
import subprocess
from pathlib import Path

import pytest

from infra.disks import qemu_img
from infra.disks.formats import format_of
from infra.disks.qcow2 import Qcow2Error, backing_file, read_header, require_standalone
from infra.process.limits import Limits

ROOT = Path(__file__).parents[2]
PACKAGES = ("domain", "commands", "projections", "agent", "api", "cli", "infra")
ALONE = "infra/disks/qemu_img.py"
"""The only place that makes a command line of qemu-img."""
ASKED = ("_program", "which", "Need")
"""Functions that ask whether it is there."""


def test_every_command_line_of_qemu_img_is_made_in_one_place() -> None:
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call | ast.Tuple | ast.List):
                    called = ast.unparse(node.func).split(".")[-1] if isinstance(node, ast.Call) else ""
                    parts = node.args if isinstance(node, ast.Call) else node.elts
                    words = [part.value for part in parts if isinstance(part, ast.Constant)]
                    if "qemu-img" in words and called not in ASKED:
                        found.append(str(path.relative_to(ROOT)))
    assert found == [ALONE]


def test_a_command_line_says_the_format_and_has_limits() -> None:
    command = qemu_img.command("info", "raw", "disk")
    assert command[command.index("--") :] == ("--", "qemu-img", "info", "-f", "raw", "disk")
    assert {"--cpu=30", f"--as={qemu_img.MEMORY}"} <= set(command)


@pytest.mark.parametrize(
    ("limits", "script"),
    [
        (Limits(cpu=1, memory=1 << 30), "while True: pass"),
        (Limits(cpu=30, memory=128 << 20), "bytes(512 << 20)"),
        (Limits(cpu=30, memory=1 << 30, file=1 << 20), "open('out', 'wb').write(bytes(2 << 20))"),
    ],
    ids=["processor", "memory", "file"],
)
def test_a_program_that_takes_more_is_stopped(limits: Limits, script: str, tmp_path: Path) -> None:
    # Of the system: that of an environment may need more memory than this by itself.
    command = ("/usr/bin/python3", "-S", "-c", script)
    done = subprocess.run(limits.around(command), cwd=tmp_path, capture_output=True, timeout=60)
    assert done.returncode != 0
    assert sum(each.stat().st_size for each in tmp_path.iterdir()) <= 1 << 20


@pytest.mark.parametrize("size", [0, 1, 71, 72, 103, 511])
def test_a_file_that_is_cut_anywhere_is_read_without_a_fault(size: int, tmp_path: Path) -> None:
    file = tmp_path / "cut"
    file.write_bytes((b"QFI\xfb\0\0\0\3" + bytes(1000))[:size])
    assert format_of(file) in ("qcow2", "raw", "text")
    read_header(file)
    with pytest.raises(Qcow2Error):
        require_standalone(file, 1 << 40)


def test_random_bytes_behind_the_magic_are_no_fault_of_the_reader(tmp_path: Path) -> None:
    file = tmp_path / "random"
    for _ in range(200):
        file.write_bytes(b"QFI\xfb\0\0\0\3" + os.urandom(400))
        with pytest.raises(Qcow2Error):
            require_standalone(file, 1 << 62)


def test_the_name_of_a_backing_file_is_bounded(tmp_path: Path) -> None:
    file = tmp_path / "named"
    file.write_bytes(b"QFI\xfb\0\0\0\3" + (512).to_bytes(8, "big") + b"\xff" * 4 + bytes(488) + b"x" * 5000)
    assert backing_file(file) == "x" * 1023
