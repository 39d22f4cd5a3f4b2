"""The time of a process, and how far it is wrong in a test.

Why in the product: that a clock which jumps does no harm is proven on the very processes that run. `GOSTACK_CLOCK`
names a file with the seconds that this process's clock is ahead, read each time it is asked; without the variable
the time is the machine's.
"""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

VARIABLE = "GOSTACK_CLOCK"

_file = os.environ.get(VARIABLE, "")


def now() -> datetime:
    """The time, UTC. Raises OSError, ValueError for a file that is not there or holds no number."""
    time = datetime.now(UTC)
    return time + timedelta(seconds=float(Path(_file).read_text())) if _file else time
