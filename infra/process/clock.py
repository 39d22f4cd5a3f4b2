"""The clock of a process, which a test can set wrong.

Why in the product: tests prove on the very processes that run in production that a clock which jumps does no harm.
`GOSTACK_CLOCK` names a file with the number of seconds that this process's clock is ahead; the file is read each time
the clock is. Without the variable the time is the machine's.
"""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

VARIABLE = "GOSTACK_CLOCK"

_file = os.environ.get(VARIABLE, "")


def now() -> datetime:
    """Return the time, UTC.

    Raises OSError where the file of GOSTACK_CLOCK is missing, ValueError where it holds no number."""
    time = datetime.now(UTC)
    return time + timedelta(seconds=float(Path(_file).read_text())) if _file else time
