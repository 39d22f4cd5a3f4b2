"""What tests of every kind share."""

import gc
import os
import sys
from collections.abc import Iterator

import pytest

from tests.servers import Servers, servers

# What is rewritten for asserts is kept, and so is what processes that tests start compile: it takes longer than most
# tests, and each worker would do all of it anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# httpx looks for it at every request that does not leave the process, and what is not there is looked for everywhere.
sys.modules.setdefault("sniffio", None)  # type: ignore[arg-type]

# Objects after which the youngest are searched for garbage; Python's 700 are for programs that have little.
gc.set_threshold(50_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest, so that no worker is left with them while the others have nothing to do any more."""
    items.sort(key=lambda item: "simulation" not in item.path.parts)


def pytest_collection_finish() -> None:
    """Leave what stays until the end out of every search for garbage: modules, tests, their parameters."""
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than processors, for `-n auto`: there are always tests that wait, for a limit or another process."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.fixture(scope="session")
def real_servers() -> Iterator[Servers]:
    """One Kafka and one PostgreSQL for the whole session."""
    with servers() as found:
        yield found
