"""What an agent reports without having been asked: that its host is there, and what became of guests by themselves."""

from domain.core.messages import Message
from domain.guest_spec import Power


class GuestObserved(Message):
    """A host's hypervisor was seen to say this of a guest, outside of any job."""

    kind = "guest"

    host_id: str
    epoch: int
    power: Power


class Heartbeat(Message):
    """A host is there, and how busy."""

    kind = "report"

    host_id: str
    epoch: int
    guests: int
    load: float = 0.0
    memory_free: int = 0
