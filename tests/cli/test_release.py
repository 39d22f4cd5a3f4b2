"""gs KIND release: what is parked takes commands again."""

import json
import uuid

from tests.cli.conftest import Gs, Service

IDENT = str(uuid.UUID(int=1))


def test_an_instance_is_released(gs: Gs, service: Service) -> None:
    told = {"subject": f"instance/{IDENT}", "released": True, "command_id": "c"}
    service.on(f"GET /v1/instances/{IDENT}", {"id": IDENT})
    service.on(f"POST /v1/parked/instance/{IDENT}/release", told)
    done = gs("instance", "release", IDENT, "-o", "json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == told


def test_what_is_not_parked_is_said_to_be_so(gs: Gs, service: Service) -> None:
    told = {"subject": f"host/{IDENT}", "released": False, "command_id": "c"}
    service.on(f"GET /v1/hosts/{IDENT}", {"id": IDENT})
    service.on(f"POST /v1/parked/host/{IDENT}/release", told)
    done = gs("host", "release", IDENT)
    assert done.exit_code == 0, done.output
    assert "was not parked" in done.stderr
