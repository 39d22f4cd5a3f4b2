"""Jobs for the guest itself, and what its hypervisor says of it afterwards."""

from typing import Any, Literal

from domain.guest_spec import Power
from domain.tasks.job import Fact, HostJob, Where


class DefineGuest(HostJob):
    """Tell the hypervisor about the guest. One that runs goes on, and has the new definition when it starts again."""


class UndefineGuest(HostJob):
    """Stop the guest at once if it runs, and make the hypervisor forget it."""

    attempts = 5
    leaves = Power.NONE


class StartGuest(HostJob):
    """Run the guest; one that runs is success."""

    deadline = 120.0
    leaves = Power.RUNNING


class StopGuest(HostJob):
    """Ask the guest to power off, and turn it off when `grace` seconds have passed; one that is off is success."""

    deadline = 180.0
    leaves = Power.SHUTDOWN

    grace: float = 60.0


class RebootGuest(HostJob):
    """Ask the guest to reboot, and reset it when it does not within `grace` seconds."""

    deadline = 180.0
    leaves = Power.RUNNING

    grace: float = 30.0


class PauseGuest(HostJob):
    """Stop the guest's processors, its memory kept; one that is paused is success."""

    leaves = Power.PAUSED


class UnpauseGuest(HostJob):
    """Let the processors of a paused guest go on; one that runs is success."""

    leaves = Power.RUNNING


class PowerSeen(Fact):
    """The hypervisor says this of the guest."""

    fact: Literal["power"] = "power"
    power: Power

    def apply(self, subject: Any, where: Where) -> Any:
        """The instance, with its guest's power there."""
        return subject.with_power(where, self.power)
