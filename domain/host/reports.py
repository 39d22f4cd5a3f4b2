"""Reports that an agent sends unasked: that its host is alive, and how guests changed by themselves."""

from domain.core.messages import Message
from domain.guest_spec import Power


class GuestObserved(Message):
    """A host's hypervisor reported this power state of a guest, outside of any job."""

    kind = "guest"

    host_id: str
    epoch: int
    power: Power


class Heartbeat(Message):
    """A host is alive, with its load."""

    kind = "report"

    host_id: str
    epoch: int
    guests: int
    load: float = 0.0
    memory_free: int = 0
