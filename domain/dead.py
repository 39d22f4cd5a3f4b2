"""Dead records: what a person did about each.

These facts stand on gostack.dead itself, behind the record they are about, so that the topic tells its whole story in
one order.
"""

from typing import ClassVar

from domain.messages import Event


class DeadEvent(Event):
    """What became of a dead record."""

    abstract: ClassVar[bool] = True
    kind = "dead"


class DeadRetried(DeadEvent):
    """It was put on its topic again, under this id."""

    record_id: str


class DeadDropped(DeadEvent):
    """It is to be left as it is."""
