"""The work of a host's agent, a handler a job and a file a group. Importing this registers them all."""

import sys

from agent.jobs.handler import HANDLERS, Context, Facts, Handler, Outside, handles, handles_without_guest
from domain.core.discovery import modules

GROUPS = tuple(modules(sys.modules[__name__]))
"""The modules, in the order of their names."""

__all__ = ["GROUPS", "HANDLERS", "Context", "Facts", "Handler", "Outside", "handles", "handles_without_guest"]
