"""Bring the database to this release's schema: numbered SQL files, applied once each, in order, never backwards.

Each is a transaction of its own, as short as it is: of two that lock tables one after the other the first holds nothing
while the second waits.
"""

from pathlib import Path

from infra.db.pool import connect

MIGRATIONS = Path(__file__).with_name("migrations")
LOCK = 7_480_001
"""Key of the advisory lock that keeps two processes from migrating at once."""


def migrate(dsn: str) -> list[str]:
    """Apply the migrations that are missing, and return their names.

    Raises psycopg.Error; earlier ones stay applied."""
    applied = []
    with connect(dsn) as connection:
        connection.execute("select pg_advisory_lock(%s)", (LOCK,))
        connection.execute(
            "create table if not exists migrations (name text primary key, at timestamptz not null default now())"
        )
        done = {name for (name,) in connection.execute("select name from migrations")}
        for file in sorted(MIGRATIONS.glob("*.sql")):
            if file.name in done:
                continue
            with connection.transaction():
                connection.execute(file.read_text().encode())
                connection.execute("insert into migrations (name) values (%s)", (file.name,))
            applied.append(file.name)
    return applied
