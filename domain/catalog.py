"""Every message there is, known: importing this registers all types, so that any record of the log can be read."""

from domain import aggregates, dead, jobs, parking
from domain.core.messages import MESSAGES
from domain.host import messages as host_messages
from domain.host import reports
from domain.instance import actions
from domain.instance.actions.lifecycle import update
from domain.network import messages as network_messages
from domain.tasks import events as task_events
from domain.tasks.job import JOBS

__all__ = [
    "JOBS",
    "MESSAGES",
    "actions",
    "aggregates",
    "dead",
    "host_messages",
    "jobs",
    "network_messages",
    "parking",
    "reports",
    "task_events",
    "update",
]
