"""The operator's vendor data: what every guest of a host is told besides its own (setting `agent.vendor_data`)."""

import json
from pathlib import Path
from typing import Any

from agent.drivers.libvirt.guest_metadata import CLOUD_INIT
from infra.process.settings import SettingWrong

LONGEST = 64 * 1024
"""Bytes that the file may have."""


def read(file: str) -> dict[str, Any] | None:
    """Read the file; None where none is named.

    Raises SettingWrong where the file cannot be read, is too large, or is not what guests can be told.
    """
    if not file:
        return None
    names = f"agent.vendor_data names {file}, which"
    try:
        with Path(file).open("rb") as opened:
            content = opened.read(LONGEST + 1)
        if len(content) > LONGEST:
            raise SettingWrong(f"{names} has more than {LONGEST} bytes")
        found = json.loads(content)
        # What JSON has no form for may not come back out either.
        json.dumps(found, allow_nan=False, ensure_ascii=False).encode()
    except OSError as error:
        raise SettingWrong(f"{names} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise SettingWrong(f"{names} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise SettingWrong(f"{names} must have an object: names and values in braces")
    config = found.get(CLOUD_INIT, "")
    if not all(isinstance(part, str) for part in (config if isinstance(config, list) else [config])):
        raise SettingWrong(f"{names} must have a text, or a list of texts, at {CLOUD_INIT}")
    return found
