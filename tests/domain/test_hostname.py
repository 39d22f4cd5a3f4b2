"""A host name as the guest is told it, and when the instance has it."""

import pytest
from pydantic import ValidationError

from domain.instance.actions.lifecycle.hostname import ChangeInstanceHostname
from domain.tasks.job import Where
from domain.tasks.messages import JobError
from domain.tasks.task import Direction
from tests.domain.instances import Scenario


def test_the_job_is_told_the_new_name_and_the_instance_has_it_when_it_is_done() -> None:
    scenario = Scenario().booted().send(ChangeInstanceHostname(hostname="other"))
    assert scenario.now is not None
    (job,) = scenario.sent[-1].data.jobs  # type: ignore[attr-defined]
    assert (job.name, job.args) == ("ChangeHostname", {"hostname": "other"})
    assert scenario.now.hostname == "web"
    scenario.settle()
    assert scenario.now.hostname == "other"
    assert scenario.now.guest_at(Where.HERE).hostname == "other"
    assert scenario.status == "active"


def test_a_change_that_fails_has_the_old_name_written_again() -> None:
    def fails(name: str, direction: Direction) -> JobError | None:
        return JobError(code="no", message="no") if name == "ChangeHostname" else None

    scenario = Scenario().booted().send(ChangeInstanceHostname(hostname="other")).settle(fails)
    assert scenario.now is not None
    assert scenario.now.hostname == "web"
    assert scenario.ran[-1] == "WriteConfigDrive"


@pytest.mark.parametrize("hostname", ["", "-a", "a-", "a.b", "a_b", "a" * 64])
def test_what_is_no_host_name_is_no_command(hostname: str) -> None:
    with pytest.raises(ValidationError):
        ChangeInstanceHostname(hostname=hostname)
