"""Booting through the API: the way of a boot, and everything that can stand in it."""

from typing import Any

import pytest

from domain.messages import Topic
from tests.api.api import GIB, Api


async def test_a_boot_is_a_task_and_the_instance_runs(api: Api) -> None:
    given = await api.boot("Web Server")
    assert given["task_id"] == given["command_id"] == given["correlation_id"]
    assert given["instances"][0]["instance_id"] == given["id"] == given["instance_id"]
    task = await api.ended(given["task_id"])
    assert task["status"] == "finished"
    instance = await api.get(f"/instances/{given['id']}")
    assert instance["status"] == "active"
    assert instance["hostname"] == "web-server"
    assert instance["host"]["name"] == "h1"
    assert instance["addresses"] == ["10.0.0.1"]
    assert instance["disk"] == 1000
    assert instance["flavor"]["name"] == "small"
    assert instance["config_drive"] is True
