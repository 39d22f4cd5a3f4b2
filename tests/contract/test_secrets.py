"""What every store of secrets, and every source of segment numbers, must do: PostgreSQL's and the twin in memory."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from cryptography.fernet import Fernet, InvalidToken

from infra.db.migrate import migrate
from infra.secrets.encryption import Encryption
from infra.secrets.memory import MemorySecrets
from infra.secrets.postgres import PostgresSecrets
from infra.secrets.secrets import LONGEST, KeyInvalid, SecretStore
from infra.secrets.segments import MemorySegments, PostgresSegments, Segments
from tests.servers import Servers

KINDS = ["memory", pytest.param("postgres", marks=pytest.mark.real)]


@pytest.fixture
def server(real_servers: Servers) -> str:
    migrate(real_servers.dsn)
    with psycopg.connect(real_servers.dsn) as connection:
        connection.execute("truncate secrets")
        connection.execute("alter sequence network_segments restart")
    return real_servers.dsn


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[SecretStore]:
    if request.param == "memory":
        yield MemorySecrets()
        return
    kept = PostgresSecrets(request.getfixturevalue("server"), Encryption.with_new_key())
    await kept.open()
    yield kept
    await kept.close()


@pytest.fixture(params=KINDS)
def segments(request: pytest.FixtureRequest) -> Segments:
    if request.param == "memory":
        return MemorySegments()
    return PostgresSegments(request.getfixturevalue("server"))


async def test_what_is_put_is_got_until_it_is_forgotten(store: SecretStore) -> None:
    await store.put("a", "one", "the pass wörd")
    await store.put("b", "one", "user data")
    await store.put("c", "two", "other")
    assert await store.get("a") == "the pass wörd"
    await store.forget(["one", "none"])
    await store.forget(["one", "none"])
    assert await store.get("a") is None
    assert await store.get("b") is None
    assert await store.get("c") == "other"


async def test_what_is_no_text_is_kept_byte_by_byte(store: SecretStore) -> None:
    for ref, value in (("a", b"\x1f\x8b\0\xff"), ("b", b""), ("c", "grüezi\r\n".encode())):
        assert await store.put_bytes(ref, "one", value) == value
        assert await store.put_bytes(ref, "one", b"another") == value
        assert await store.get_bytes(ref) == value
    assert await store.get("c") == "grüezi\r\n"
    assert await store.get_bytes("none") is None


async def test_one_of_several_is_dropped(store: SecretStore) -> None:
    await store.put("one", "i", "a")
    await store.put("two", "i", "b")
    for _ in range(2):
        await store.drop("one")
    assert (await store.get("one"), await store.get("two")) == (None, "b")


async def test_a_reference_that_is_taken_keeps_what_it_has(store: SecretStore) -> None:
    assert await store.put("a", "one", "first") == "first"
    assert await store.put("a", "one", "second") == "first"
    assert await store.get("a") == "first"


async def test_a_secret_has_a_bound(store: SecretStore) -> None:
    await store.put("a", "one", "x" * LONGEST)
    with pytest.raises(ValueError, match="may have"):
        await store.put("b", "one", "x" * (LONGEST + 1))


async def test_a_secret_with_a_time_to_live_is_kept_so_long_and_no_longer(store: SecretStore) -> None:
    assert await store.put("a", "one", "for an hour", timedelta(hours=1)) == "for an hour"
    assert await store.put("a", "one", "another", timedelta(hours=1)) == "for an hour"
    assert await store.put("b", "one", "for no time", timedelta(0)) == "for no time"
    await store.put("c", "two", "until it is forgotten")
    await store.forget(["one"])
    assert (await store.get("a"), await store.get("b")) == ("for an hour", None)
    assert await store.held(datetime.now(UTC) + timedelta(hours=2), 10) == ["two"]
    assert (await store.expire(), await store.expire()) == (1, 0)
    assert (await store.get("a"), await store.get("c")) == ("for an hour", "until it is forgotten")
    await store.drop("a")
    assert await store.get("a") is None


async def test_held_names_each_instance_once_longest_first(store: SecretStore) -> None:
    for ref, owner in (("a", "one"), ("b", "two"), ("c", "one")):
        await store.put(ref, owner, "x")
    soon = datetime.now(UTC) + timedelta(seconds=5)
    assert await store.held(soon, 10) == ["one", "two"]
    assert await store.held(soon, 1) == ["one"]
    assert await store.held(soon - timedelta(hours=1), 10) == []


async def test_marks_tell_values_apart(store: SecretStore) -> None:
    assert store.digest("a") == store.digest("a") != store.digest("b")
    assert store.digest("a") != MemorySecrets().digest("a")


async def test_segments_are_given_once_and_only_raised(segments: Segments) -> None:
    assert [await segments.next(), await segments.next()] == [1, 2]
    await segments.raise_to(2)
    assert await segments.next() == 3
    await segments.raise_to(40)
    assert await segments.next() == 40
    await segments.raise_to(7)
    assert await segments.next() == 41


@pytest.mark.real
async def test_the_database_holds_nothing_readable_and_another_key_opens_nothing(server: str) -> None:
    kept = PostgresSecrets(server, Encryption.with_new_key())
    other = PostgresSecrets(server, Encryption.with_new_key())
    await kept.open()
    await other.open()
    await kept.put("sealed", "one", "hunter2-hunter2")
    with psycopg.connect(server) as connection:
        row = connection.execute("select sealed from secrets where id = 'sealed'").fetchone()
    assert row is not None
    assert b"hunter2" not in bytes(row[0])
    with pytest.raises(InvalidToken):
        await other.get("sealed")
    await kept.close()
    await other.close()


def test_a_key_file_must_hold_a_key(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(Fernet.generate_key() + b"\n")
    assert Encryption.from_file(str(file)).decrypt(Encryption.from_file(str(file)).encrypt(b"x")) == b"x"
    for wrong in (b"short", b"AAAA"):
        file.write_bytes(wrong)
        with pytest.raises(KeyInvalid):
            Encryption.from_file(str(file))
