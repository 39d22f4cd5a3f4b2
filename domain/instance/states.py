"""Status and power in one table: which power is right in each vm_state, and what follows when another is seen.

Why a table: a paused guest that dies, or a paused instance that is deleted and restored, is right because its row is,
without a line of code of its own.
"""

from dataclasses import dataclass, field

from domain.guest_spec import Power
from domain.instance.state import VmState


@dataclass(frozen=True)
class StateRow:
    """Properties of one vm_state: allowed power, and reactions to another."""

    power: frozenset[Power] | None = None
    """Power states that the guest may have; None: any."""
    seen: dict[Power, VmState] = field(default_factory=dict)
    """Power state that a report shows -> the vm_state that follows; any other leaves the vm_state as it is."""
    restored: VmState | None = None
    """Status after a restore of an instance that was soft-deleted in this one; None: the same."""
    restore_runs: bool = False
    """Whether a restore after a soft delete starts the guest again."""


OFF = frozenset({Power.SHUTDOWN, Power.CRASHED})
STILL = frozenset({Power.PAUSED, Power.BLOCKED})
GONE_OFF = dict.fromkeys(sorted(OFF), VmState.STOPPED)
PAUSED = dict.fromkeys(sorted(STILL), VmState.PAUSED)
STARTED = {Power.RUNNING: VmState.ACTIVE, **PAUSED, Power.SUSPENDED: VmState.SUSPENDED}
"""Power state that is seen of a guest that was off -> the vm_state that follows."""

STATES: dict[VmState, StateRow] = {
    VmState.BUILDING: StateRow(),
    VmState.ACTIVE: StateRow(
        power=frozenset({Power.RUNNING}),
        seen={**GONE_OFF, **PAUSED, Power.SUSPENDED: VmState.SUSPENDED},
        restore_runs=True,
    ),
    VmState.PAUSED: StateRow(
        power=STILL,
        seen={**GONE_OFF, Power.RUNNING: VmState.ACTIVE},
        restored=VmState.ACTIVE,
        restore_runs=True,
    ),
    VmState.SUSPENDED: StateRow(
        power=frozenset({Power.SUSPENDED}),
        seen={**GONE_OFF, **PAUSED, Power.RUNNING: VmState.ACTIVE},
    ),
    VmState.STOPPED: StateRow(power=OFF | {Power.NONE}, seen=STARTED),
    VmState.RESCUED: StateRow(power=frozenset({Power.RUNNING}), restore_runs=True),
    VmState.RESIZED: StateRow(restore_runs=True),
    VmState.SOFT_DELETED: StateRow(),
    VmState.DELETED: StateRow(power=frozenset({Power.NONE})),
    VmState.SHELVED: StateRow(power=OFF | {Power.NONE}, seen=STARTED),
    VmState.SHELVED_OFFLOADED: StateRow(power=frozenset({Power.NONE})),
    VmState.ERROR: StateRow(),
}


def seen_as(vm_state: VmState, power: Power) -> VmState:
    """Return the vm_state of an instance without a task whose guest is reported in this power state."""
    return STATES[vm_state].seen.get(power, vm_state)
