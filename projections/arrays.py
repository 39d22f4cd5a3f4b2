"""Long lists for PostgreSQL's unnest, in its binary array format.

Why not as plain lists: psycopg asks of every element what it is. These know, which is a third of the time that a batch
of rows takes to be sent. Format: array_recv() in PostgreSQL's src/backend/utils/adt/arrayfuncs.c.
"""

import struct
from collections.abc import Iterable

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

_HEAD = struct.Struct("!iiIii").pack
_LENGTH = struct.Struct("!i").pack
TEXT, TEXTS = 25, 1009
BYTEA, BLOBS = 17, 1001


class Texts(list[str]):
    """For a parameter of type text[]."""


class EncodedTexts(list[bytes]):
    """The same, of text that is UTF-8 already."""


class Blobs(list[bytes]):
    """For a parameter of type bytea[]."""


def _array(of: int, elements: Iterable[bytes], count: int) -> bytes:
    parts = [_HEAD(1 if count else 0, 0, of, count, 1)] if count else [struct.pack("!iiI", 0, 0, of)]
    for each in elements:
        parts += (_LENGTH(len(each)), each)
    return b"".join(parts)


class TextsDumper(Dumper):
    """text[]"""

    format = Format.BINARY
    oid = TEXTS

    def dump(self, obj: Texts) -> Buffer:
        """The array."""
        return _array(TEXT, map(str.encode, obj), len(obj))


class EncodedTextsDumper(Dumper):
    """text[]"""

    format = Format.BINARY
    oid = TEXTS

    def dump(self, obj: EncodedTexts) -> Buffer:
        """The array."""
        return _array(TEXT, obj, len(obj))


class BlobsDumper(Dumper):
    """bytea[]"""

    format = Format.BINARY
    oid = BLOBS

    def dump(self, obj: Blobs) -> Buffer:
        """The array."""
        return _array(BYTEA, obj, len(obj))


psycopg.adapters.register_dumper(Texts, TextsDumper)
psycopg.adapters.register_dumper(EncodedTexts, EncodedTextsDumper)
psycopg.adapters.register_dumper(Blobs, BlobsDumper)
