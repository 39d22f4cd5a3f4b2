"""gs cell list."""

import re

from tests.cli.conftest import Gs, Service

EAST = {
    "name": "east",
    "hosts": 2,
    "instances": 3,
    "vcpus": {"total": 8, "used": 3},
    "memory": {"total": 8 << 30, "used": 3 << 30},
    "disk": {"total": 80 << 30, "used": 30 << 30},
    "partition": 2,
}


def test_cells_are_listed_with_what_their_hosts_have(gs: Gs, service: Service) -> None:
    service.on("GET /v1/cells", {"cells": [EAST], "next": "east"})
    done = gs("cell", "list", "--limit", "1", "--marker", "a")
    assert done.exit_code == 0, done.output
    lines = done.stdout.split("\n")
    assert lines[0].split() == ["CELL", "HOSTS", "INSTANCES", "VCPUS", "MEMORY", "DISK", "PARTITION"]
    assert re.split(r" {2,}", lines[1].strip()) == ["east", "2", "3", "3 of 8", "3G of 8G", "30G of 80G", "2"]
    assert dict(service.asked[0].url.params) == {"limit": "1", "marker": "a"}
