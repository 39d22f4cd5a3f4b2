"""Python's cycle collector, set for processes that make many small objects and hardly any cycles.

Why: by default it looks through the youngest objects every 700 allocations, and now and then through all there are,
modules and classes included. A step makes tens of thousands of objects that reference counting frees by itself.
"""

import gc

YOUNG = 50_000
"""Allocations between two looks at the youngest objects."""


def ease() -> None:
    """To be called once everything is imported: what is there now is never looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 50)
