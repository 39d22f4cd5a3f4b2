"""The API, empty or furnished."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.api import Api, serving


@pytest.fixture
async def empty(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path) as made:
        yield made


@pytest.fixture
async def api(empty: Api) -> Api:
    await empty.furnish()
    return empty
