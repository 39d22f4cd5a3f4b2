"""The database's schema: each file once, in order, and whole or not at all."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from infra.db.migrate import migrate
from tests.servers import Servers

pytestmark = pytest.mark.real


@pytest.fixture
def dsn(real_servers: Servers) -> str:
    """An empty database."""
    name = f"empty_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(real_servers.dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    return make_conninfo(real_servers.dsn, dbname=name)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("infra.db.migrate.MIGRATIONS", tmp_path)
    (tmp_path / "0001_a.sql").write_text("create table a (n int); insert into a values (1)")
    (tmp_path / "0002_b.sql").write_text("create table b (n int); insert into a values (2)")
    return tmp_path


def test_each_is_applied_once_and_in_order(dsn: str, files: Path) -> None:
    assert migrate(dsn) == ["0001_a.sql", "0002_b.sql"]
    (files / "0003_c.sql").write_text("insert into a select count(*) + 1 from a")
    assert migrate(dsn) == ["0003_c.sql"]
    assert migrate(dsn) == []
    with psycopg.connect(dsn) as connection:
        assert connection.execute("select n from a order by n").fetchall() == [(1,), (2,), (3,)]


def test_one_that_fails_leaves_what_came_before_and_nothing_of_itself(dsn: str, files: Path) -> None:
    whole = (files / "0002_b.sql").read_text()
    (files / "0002_b.sql").write_text(whole + "; select * from nowhere")
    with pytest.raises(psycopg.errors.UndefinedTable):
        migrate(dsn)
    with psycopg.connect(dsn) as connection:
        assert connection.execute("select n from a").fetchall() == [(1,)]
        assert connection.execute("select to_regclass('b')").fetchone() == (None,)
    (files / "0002_b.sql").write_text(whole)
    assert migrate(dsn) == ["0002_b.sql"]


def test_two_at_once_apply_each_once(dsn: str, files: Path) -> None:
    with ThreadPoolExecutor() as pool:
        applied = list(pool.map(migrate, [dsn] * 4))
    assert sorted(applied) == [[], [], [], ["0001_a.sql", "0002_b.sql"]]
