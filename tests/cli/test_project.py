"""gs project usage: what each project uses, in words that people read."""

import json

from tests.cli.conftest import Gs, Service

ADMIN = {"project_id": "admin", "instances": 3, "vcpus": 6, "memory": 6 << 30, "disk": 60 << 30, "ports": 4}


def test_what_each_project_uses_is_listed(gs: Gs, service: Service) -> None:
    service.on("GET /v1/usage", {"usage": [ADMIN], "next": None})
    done = gs("project", "usage")
    assert done.exit_code == 0, done.output
    assert done.stdout.split("\n")[0].split() == ["PROJECT", "INSTANCES", "VCPUS", "MEMORY", "DISK", "PORTS"]
    assert done.stdout.split("\n")[1].split() == ["admin", "3", "6", "6G", "60G", "4"]


def test_one_project_is_asked_for(gs: Gs, service: Service) -> None:
    service.on("GET /v1/usage", {"usage": [ADMIN], "next": None})
    done = gs("project", "usage", "admin", "-o", "json")
    assert json.loads(done.stdout) == [ADMIN]
    assert dict(service.asked[0].url.params) == {"project_id": "admin"}
