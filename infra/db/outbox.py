"""The format in which a batch of records waits in the outbox until the log has it.

One row a step, so that sending costs two writes, not two a record. JSON, so that an operator can read what has not
been sent yet; bytes stand in it as Latin-1 text, which loses none.
"""

from collections.abc import Sequence

import orjson

from domain.core.messages import Record

BYTES = "latin-1"


def pack(records: Sequence[Record]) -> bytes:
    """Encode records as bytes, without their offsets."""
    return orjson.dumps(
        [
            [
                record.topic,
                record.key.decode(BYTES),
                record.value.decode(BYTES),
                [[name, value.decode(BYTES)] for name, value in record.headers],
                record.partition,
            ]
            for record in records
        ]
    )


def unpack(packed: bytes) -> list[Record]:
    """Decode the records that pack() encoded."""
    return [
        Record(
            topic=topic,
            key=key.encode(BYTES),
            value=value.encode(BYTES),
            headers=tuple((name, header.encode(BYTES)) for name, header in headers),
            partition=partition,
        )
        for topic, key, value, headers, partition in orjson.loads(packed)
    ]
