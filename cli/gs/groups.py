"""The groups of commands, with a sentence on each: those of the kinds of aggregates, and the others.

Why the rows' source is read and not imported: `gs --help` needs two words of each, and importing the domain takes
longer than most requests. A test holds what is read to the rows themselves.
"""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

OTHERS: dict[str, str] = {
    "cell": "Parts of the fleet that are scheduled apart.",
    "config": "Settings in force, and where each came from.",
    "event": "The log itself: everything that ever happened.",
    "job": "Steps of tasks, as they were sent to hosts.",
    "project": "What each project uses.",
    "projection": "Read models: how far they are, made anew, compared.",
    "parked": "What takes no commands until it is released.",
    "port": "Addresses of networks, for instances to come.",
    "scheduler": "What hosts are chosen by, and how an instance was placed.",
    "task": "Accepted commands that take time.",
}
ROW = re.compile(r'^KIND = Kind\(\n    name="([\w-]+)",\n    help="([^"\n]+)",$', re.MULTILINE)


def of_kinds() -> Iterator[tuple[str, str]]:
    """Return the name and the help text of each kind of aggregate."""
    spec = importlib.util.find_spec("domain")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted([*Path(folder).glob("*.py"), *Path(folder).glob("*/kind.py")]):
            yield from ROW.findall(path.read_text(encoding="utf-8"))


GROUPS: dict[str, str] = OTHERS | dict(of_kinds())
