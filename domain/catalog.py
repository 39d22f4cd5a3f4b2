"""Every message there is, known: importing this registers all types, so that any record of the log can be read."""

from domain import aggregates, dead, parking, task
from domain.host import messages as host_messages
from domain.instance import actions
from domain.instance.actions import update
from domain.jobs import JOBS
from domain.messages import MESSAGES
from domain.network import messages as network_messages

__all__ = [
    "JOBS",
    "MESSAGES",
    "actions",
    "aggregates",
    "dead",
    "host_messages",
    "network_messages",
    "parking",
    "task",
    "update",
]
