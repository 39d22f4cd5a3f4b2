"""Every job that a plan can have done, a file a group. Importing this registers them all, with their facts."""

import sys

from domain.core.discovery import modules

GROUPS = tuple(modules(sys.modules[__name__]))
"""The modules, in the order of their names."""
