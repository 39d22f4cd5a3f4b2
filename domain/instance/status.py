"""The status that a user sees, derived from what the instance is and what is being done to it."""

from domain.instance.actions import ACTIONS
from domain.instance.state import Instance, VmState


def status(instance: Instance) -> str:
    """Return the status in lower case: the running action's, where it has one, else the vm_state."""
    if instance.task is not None and (action := ACTIONS.get(instance.task.action)) and action.during:
        return action.during
    return instance.vm_state


STATUSES = sorted({*VmState, *(action.during for action in ACTIONS.values() if action.during)})
"""Every status that an instance can have."""
