"""The operator's file with what every guest is told: read as it is, or named with what is wrong."""

import re
from pathlib import Path

import pytest

from agent.drivers.libvirt import vendor_data
from infra.process.settings import SettingWrong


def test_vendor_data_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "vendor.json"
    file.write_text('{"region": "east", "cloud-init": ["#!/bin/sh\\n"]}')
    assert vendor_data.read(str(file)) == {"region": "east", "cloud-init": ["#!/bin/sh\n"]}
    assert vendor_data.read("") is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        (b"{", "is no JSON"),
        (b"\xff", "is no JSON"),
        (b"[" * 60_000, "is no JSON"),
        (b'{"a": "\\ud800"}', "is no JSON"),
        (b'{"a": NaN}', "is no JSON"),
        (b'"#cloud-config"', "must have an object"),
        (b'{"cloud-init": {"a": 1}}', "a text, or a list of texts, at cloud-init"),
        (b'{"cloud-init": ["a", 1]}', "a text, or a list of texts, at cloud-init"),
        (b'{"a": "' + b"x" * 65536 + b'"}', "more than 65536 bytes"),
    ],
)
def test_vendor_data_that_guests_cannot_be_told_is_named(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "vendor.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingWrong, match=re.escape(f"agent.vendor_data names {file}, which")) as wrong:
        vendor_data.read(str(file))
    assert said in str(wrong.value)
