"""Messages by which a guest is told about itself by its record: its hosts write it anew when something has changed.

Why without a task: a change of the record is done when it is accepted, so who asked for it waits for no host, and no
other verb waits for this. A host that is away does it when it is back; what it could not do is done at the next start.
"""

from collections.abc import Iterator
from datetime import timedelta

from domain.core.messages import Envelope, Event, Key, Outgoing, derived_id
from domain.instance.events import InstanceHostnameChanged, InstanceHostRenewed, InstanceUpdated
from domain.instance.state import Instance
from domain.jobs.guest import TellGuest
from domain.tasks.draft import Draft
from domain.tasks.job import Where
from domain.tasks.messages import DispatchHostJobs, JobCall, JobsAnswered
from domain.tasks.outbound import to_host

NO_TASK = ""
"""Id of the task that these jobs are steps of."""


def told_anew(draft: Draft[Instance], envelope: Envelope) -> list[Outgoing]:
    """Return the messages to the instance's hosts that follow from a record: where it changed what the guest is told,
    or is the answer of a host that was asked in an epoch before its present one."""
    again = isinstance(envelope.data, JobsAnswered) and _stale(envelope.data) is not None
    if draft.after is None or not (again or any(_concerns_guest(event) for _, event, _ in draft.steps)):
        return []
    return list(_messages(draft.after, envelope))


def not_told(draft: Draft[Instance], answer: JobsAnswered) -> None:
    """Emit the present epoch of a host that refused to tell, where it is not known yet."""
    epoch = _stale(answer)
    for where in Where:
        host = draft.after.host_at(where) if draft.after is not None else None
        if epoch is not None and host is not None and host.id == answer.host_id and host.epoch < epoch:
            draft.emit(InstanceHostRenewed(host_id=host.id, epoch=epoch))


def _concerns_guest(event: Event) -> bool:
    match event:
        case InstanceUpdated():
            return event.name is not None or event.metadata is not None
        case InstanceHostnameChanged():
            # Its own job has told it, but a change of something else may have told the name before since.
            return True
        case _:
            return False


def _stale(answer: JobsAnswered) -> int | None:
    """Return the epoch of a host that refused to tell because it was asked in an earlier one, or None."""
    errors = [each.error for each in answer.results if each.error is not None]
    if answer.task_id != NO_TASK or not errors or errors[0].code != "stale-epoch":
        return None
    return int(errors[0].details.get("epoch", 0))


def _messages(instance: Instance, envelope: Envelope) -> Iterator[Outgoing]:
    key = Key("instance", instance.id)
    for where in Where:
        host = instance.host_at(where)
        if host is None:
            continue
        dispatch_id = derived_id(envelope.id, TellGuest.__name__, where)
        message = DispatchHostJobs(
            dispatch_id=dispatch_id,
            task_id=NO_TASK,
            subject=str(key),
            host_id=host.id,
            epoch=host.epoch,
            deadline=envelope.time + timedelta(seconds=TellGuest.deadline),
            guest=instance.guest_at(where),
            jobs=(JobCall(job_id=derived_id(dispatch_id, "job"), name=TellGuest.__name__),),
        )
        yield to_host(key, host, message)
