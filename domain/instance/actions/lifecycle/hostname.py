"""hostname: change the host name of the guest. ChangeHostname.

Config drive and metadata service say it at once, and a guest reads them when it is started; a guest that runs is not
disturbed, and has its old name until then.
"""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from domain.core.fields import PERSONAL
from domain.instance.action import ANY_BUT_DELETED, InstanceAction, InstanceCommand
from domain.instance.events import InstanceHostnameChanged
from domain.instance.spec import HOSTNAME
from domain.instance.state import Instance, VmState
from domain.jobs.disk import WriteConfigDrive
from domain.jobs.guest import ChangeHostname
from domain.tasks.draft import Draft
from domain.tasks.flow import Flow, Step, fields
from domain.tasks.task import Task


class ChangeInstanceHostname(InstanceCommand):
    """Change an instance's host name; a running guest takes it when it is stopped and started again."""

    hostname: Annotated[str, PERSONAL] = Field(pattern=HOSTNAME)
    """New host name: letters, digits and inner hyphens, at most 63 (RFC 1123)."""


def note_hostname(draft: Draft[Instance], task: Task, at: datetime) -> None:
    """Emit the guest's new host name."""
    draft.emit(InstanceHostnameChanged(hostname=task.params["hostname"], at=at))


CHANGE_HOSTNAME = InstanceAction(
    name="hostname",
    command=ChangeInstanceHostname,
    begins=ANY_BUT_DELETED - {VmState.SOFT_DELETED, VmState.BUILDING, VmState.RESIZED, VmState.SHELVED_OFFLOADED},
    ends=None,
    finished=note_hostname,
    flow=Flow("hostname", 1, (Step(ChangeHostname, undo=WriteConfigDrive, each=fields("hostname")),)),
)
