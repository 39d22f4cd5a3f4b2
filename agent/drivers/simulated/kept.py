"""The file in which what a simulated host has outlives its process."""

import sqlite3
from contextlib import closing
from pathlib import Path


def open_kept(path: Path) -> sqlite3.Connection:
    """Open the file in which a simulated host's guests, images and volumes outlive its process. Raises sqlite3.Error,
    OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    with closing(kept.cursor()) as cursor:
        # It has to outlive the process and not the machine's power: the operating system has it at once.
        cursor.execute("pragma journal_mode = wal")
        cursor.execute("pragma synchronous = off")
        cursor.execute("create table if not exists guests (id text primary key, guest text not null) without rowid")
        cursor.execute("create table if not exists images (checksum text primary key) without rowid")
        cursor.execute("create table if not exists volumes (id text primary key, size int not null) without rowid")
    return kept
