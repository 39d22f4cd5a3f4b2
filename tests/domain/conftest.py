import pytest

from tests.domain.instances import Scenario


@pytest.fixture
def instance() -> Scenario:
    return Scenario()
