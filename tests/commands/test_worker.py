"""What a worker asks of its group: how soon others have a dead one's partitions, and who comes back as itself."""

import tempfile
from pathlib import Path
from typing import Any

import pytest

from commands.worker import Worker
from infra.settings import Settings
from tests.commands.bench import Bench


@pytest.fixture(autouse=True)
def _leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def asked(**settings: Any) -> Any:
    bench = Bench()
    return Worker("engine", bench.processor, Settings(worker=settings)).app.conf


def test_a_dead_worker_is_missed_within_a_quarter_of_a_minute() -> None:
    """After a session without a heartbeat; the others hear of it with their next."""
    found = asked()
    assert found.broker_session_timeout + found.broker_heartbeat_interval <= 15
    assert found.broker_heartbeat_interval * 3 <= found.broker_session_timeout
    assert asked(session_timeout=30).broker_session_timeout == 30


@pytest.mark.parametrize(("name", "member"), [("second", "engine-second"), ("", None)])
def test_a_worker_with_a_name_comes_back_as_the_member_that_it_was(name: str, member: str | None) -> None:
    assert asked(instance=name).consumer_group_instance_id == member
