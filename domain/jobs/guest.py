"""Jobs for the guest itself, and the power state that its hypervisor reports afterwards."""

from typing import Any, Literal

from domain.guest_spec import FlavorRef, ImageRef, Power
from domain.tasks.job import Fact, HostJob, Where


class DefineGuest(HostJob):
    """Define the guest in the hypervisor. A running guest goes on, and has the new definition when it starts again."""


class UndefineGuest(HostJob):
    """Stop the guest at once if it runs, and remove its definition from the hypervisor."""

    attempts = 5
    leaves = Power.NONE


class StartGuest(HostJob):
    """Run the guest; success if it runs already."""

    deadline = 120.0
    leaves = Power.RUNNING


class StopGuest(HostJob):
    """Ask the guest to power off, and turn it off when `grace` seconds have passed; success if it is off already."""

    deadline = 180.0
    leaves = Power.SHUTDOWN

    grace: float = 60.0


class RebootGuest(HostJob):
    """Ask the guest to reboot, and reset it when it does not within `grace` seconds."""

    deadline = 180.0
    leaves = Power.RUNNING

    grace: float = 30.0


class PauseGuest(HostJob):
    """Stop the guest's processors, its memory kept; success if it is paused already."""

    leaves = Power.PAUSED


class UnpauseGuest(HostJob):
    """Let the processors of a paused guest go on; success if it runs already."""

    leaves = Power.RUNNING


class SuspendGuest(HostJob):
    """Save the guest's memory to the host's disk and end the guest; success if it is suspended already."""

    deadline = 600.0
    leaves = Power.SUSPENDED


class ResumeGuest(HostJob):
    """Run a suspended guest from its saved memory, where it was; success if it runs already."""

    deadline = 600.0
    leaves = Power.RUNNING


class RescueGuest(HostJob):
    """Define the guest anew so that it boots from its rescue disk, and has its own root disk second."""

    image: ImageRef
    """Image that the rescue disk was made from."""


class UnrescueGuest(HostJob):
    """Define the guest anew so that it boots from its own root disk, and has no rescue disk."""


class RebuildGuest(HostJob):
    """Define the guest anew with a root disk of another image."""

    image: ImageRef


class ResizeGuest(HostJob):
    """Define the guest anew with the processors and the memory of another flavor, and a root disk of this size."""

    flavor: FlavorRef
    disk: int
    """Size of the root disk, in bytes."""


class TellGuest(HostJob):
    """Write what the guest is told about itself by the record as it is now; success where it was told nothing yet, and
    some other job is to do so."""


class ChangeHostname(HostJob):
    """Write what the guest is told about itself with another host name; the guest reads it when it is started again."""

    hostname: str


class PowerSeen(Fact):
    """The hypervisor reported this power state of the guest."""

    fact: Literal["power"] = "power"
    power: Power

    def apply(self, subject: Any, where: Where) -> Any:
        """Return the instance with the power state of its guest, here or on the second host."""
        return subject.seen(self.power, where)
