"""Each event in a sentence, for people who ask why something is as it is."""

from collections.abc import Sequence

from domain.core.messages import Event, plain_name
from domain.guest_spec import Power
from domain.host.messages import (
    HostClaimMade,
    HostClaimReleased,
    HostClaimResized,
    HostDisabled,
    HostEnabled,
    HostEvent,
    HostHeard,
    HostRegistered,
    HostSuspected,
    HostUplinkChanged,
    HostZoneAssigned,
    PlacementRefused,
)
from domain.instance.events import (
    InstanceCellChanged,
    InstanceCreated,
    InstancePowerChanged,
    InstanceSecondPowerChanged,
)
from domain.network.messages import (
    GatewayGiven,
    HostAddressGiven,
    NetworkCreated,
    NetworkDeleted,
    PortBoundToInstance,
    PortCreated,
    PortPrepared,
    PortUnprepared,
)
from domain.parking import AggregateParked, AggregateReleased
from domain.tasks.events import (
    CommandRefused,
    StepFailed,
    StepsDispatched,
    StepsFinished,
    StepStarted,
    TaskAccepted,
    TaskCancelRequested,
    TaskFailed,
    TaskFinished,
)
from domain.tasks.task import Direction
from projections.store.port import HistoryEntry


def _now(entry: HistoryEntry, status: str) -> str:
    """Return a clause that says in which status the task's aggregate is."""
    return f"the {entry.subject.kind} is {status}" if status else "nothing else changed"


def describe(entry: HistoryEntry, event: Event) -> str:
    """Return a sentence that says in plain words what happened."""
    match event:
        case InstanceCreated():
            return f"{entry.actor} asked for instance {event.name}, and it exists from now on."
        case TaskAccepted():
            steps = ", ".join(step.name for step in event.task.plan.steps)
            return f"{event.task.action}, asked for by {entry.actor}, was accepted; its steps are {steps or 'none'}."
        case StepsDispatched():
            again = f" (attempt {event.dispatch.attempt})" if event.dispatch.attempt > 1 else ""
            return f"{_were(event.jobs)} sent out{again}, to be answered by {event.dispatch.deadline:%H:%M:%S}."
        case StepStarted():
            return f"{event.job} has begun."
        case StepsFinished():
            return f"{_were(event.jobs)} {'done' if event.direction is Direction.FORWARD else 'undone'}."
        case StepFailed():
            undo = f"; {len(event.to_undo)} steps are undone now" if event.to_undo else ""
            return f"{plain_name(event.fault.step) or 'A step'} failed: {event.fault.message}{undo}"
        case TaskCancelRequested():
            return f"{event.by} wants the task stopped and undone."
        case TaskFinished():
            return f"{event.action} is finished: {_now(entry, event.status)}."
        case TaskFailed():
            how = "was cancelled" if event.cancelled else f"failed: {event.fault.message}"
            return f"{event.action} {how}; {_now(entry, event.status)}."
        case HostClaimMade():
            best = f", which scored {event.report.best[0].score:g}" if event.report.best else ""
            left = event.report.counts[-1].left if event.report.counts else event.report.total
            return f"The scheduler chose this host{best}: {left} of {event.report.total} hosts would do."
        case HostClaimReleased():
            return "The host's resources are free again."
        case PlacementRefused():
            none = next((count.filter for count in event.report.counts if not count.left), "the filters")
            return f"No host of cell {event.cell} would do: of {event.report.total} hosts, {none} left none."
        case PortCreated():
            return f"The network took the address {event.ip}."
        case PortBoundToInstance():
            return "The network bound the port to the instance."
        case PortPrepared():
            return "The network prepared the port for a second host, to which the instance moves."
        case PortUnprepared():
            return "The network gave up the port's preparation for a second host."
        case GatewayGiven():
            return f"The network's gateway has the address {event.ip} on every host."
        case HostAddressGiven():
            return f"The network gave the host the address {event.ip}."
        case InstanceCellChanged():
            return f"Cell {event.before} has no host for it ({event.why}); cell {event.cell} is asked next."
        case InstanceSecondPowerChanged():
            return f"The hypervisor of its second host says that the guest there is {event.power}."
        case InstancePowerChanged():
            return _of_power(event)
        case NetworkCreated():
            return f"{entry.actor} asked for network {event.name} ({event.cidr}), and it exists from now on."
        case NetworkDeleted():
            return f"{entry.actor} deleted it."
        case AggregateParked():
            what = f"gs {entry.subject.kind} release {entry.subject.id}"
            return (
                f"It takes no commands from now on: the record at {event.place} could not be applied ({event.why}). "
                f"Once that is mended, {what} lets it take them again."
            )
        case AggregateReleased():
            return f"{entry.actor} released it: it takes commands again."
        case CommandRefused():
            return f"{entry.actor}'s {plain_name(event.command)} was refused: {event.message}"
        case HostEvent():
            return _of_host(entry, event)
        case _:
            return _by_docstring(event)


def _of_power(event: InstancePowerChanged) -> str:
    if event.power is Power.BLOCKED:
        return (
            "The hypervisor says that the guest stands still, since a disk of it takes no more, as where its host or "
            f"pool is full; it goes on when there is room: the instance is {event.vm_state} until then."
        )
    return f"The hypervisor says that the guest is {event.power}: the instance is {event.vm_state}."


def _of_host(entry: HistoryEntry, event: HostEvent) -> str:
    match event:
        case HostRegistered():
            again = f" (epoch {event.epoch})" if event.epoch > 1 else ""
            return f"Its agent registered it as {event.name}, in zone {event.zone} of cell {event.cell}{again}."
        case HostUplinkChanged():
            how = ", encrypted" if event.tunnel_key else ""
            return f"Other hosts reach its guest networks at {event.uplink or 'no address'}{how}."
        case HostClaimResized():
            held = f"{event.vcpus} vCPUs, {event.memory} bytes of memory and {event.disk} bytes of disk"
            return f"The host reserves {held} for it from now on."
        case HostEnabled():
            return f"{entry.actor} enabled it: new instances may be placed on it."
        case HostDisabled():
            reason = f" ({event.why})" if event.why else ""
            return f"{entry.actor} disabled it{reason}: no new instances are placed on it."
        case HostZoneAssigned():
            return f"{entry.actor} put it into zone {event.zone}."
        case HostSuspected():
            return "Its heartbeats are missing: it is suspect, and no new instances are placed on it."
        case HostHeard():
            return "Its heartbeats are back: it is healthy, and new instances may be placed on it."
        case _:
            return _by_docstring(event)


def _by_docstring(event: Event) -> str:
    return " ".join((type(event).__doc__ or event.type_name).split())


def _were(jobs: Sequence[str]) -> str:
    return f"{', '.join(map(plain_name, jobs))} {'was' if len(jobs) == 1 else 'were'}"
