"""The lifecycle table: one file a verb, one row in each; a file that is there is in the table."""

import sys

from domain.core.discovery import declared
from domain.instance.action import InstanceAction
from domain.tasks.action import Action

ACTIONS: dict[str, InstanceAction] = {action.name: action for action in declared(sys.modules[__name__], Action)}
