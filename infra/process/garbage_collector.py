"""Python's cycle collector, set for processes that make many small objects and hardly any cycles.

Why: by default the collector examines the youngest objects every 700 allocations, and now and then all there are,
modules and classes included. A step makes tens of thousands of objects that reference counting frees by itself.
"""

import gc

YOUNG = 50_000
"""Allocations between two collections of the youngest generation."""


def tune_garbage_collector() -> None:
    """Let the collector ignore all objects that exist now, and run rarely; to be called once everything is imported."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 50)
