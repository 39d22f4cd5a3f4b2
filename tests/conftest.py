"""What tests of every kind share."""

from collections.abc import Iterator

import pytest

from tests.servers import Servers, servers


@pytest.fixture(scope="session")
def real_servers() -> Iterator[Servers]:
    """One Kafka and one PostgreSQL for the whole session."""
    with servers() as found:
        yield found
