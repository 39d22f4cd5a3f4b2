"""Every way a command can be refused, and every fault a task can end with.

Why classes: a caller acts on the code, which is permanent; a person reads the text, which is the class's docstring
with its values filled in. A class says its category, which `api/http/problems.py` maps to HTTP: a new way to be refused
is a class and nothing else.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar


class Category(StrEnum):
    """Why a command is refused, in the few classes that a program tells apart."""

    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    """The state of something stands in the way; the same request may pass later."""
    PRECONDITION = "precondition"
    """The request depends on a version of the thing that has passed."""
    INVALID = "invalid"
    """A value is not allowed; the same request is refused for ever."""
    MALFORMED = "malformed"
    """The request cannot be read."""
    UNAUTHENTICATED = "unauthenticated"
    """The caller is not known."""
    FORBIDDEN = "forbidden"
    """The caller is known and may not do this."""
    MISDIRECTED = "misdirected"
    """The request is meant for somebody else."""
    NOT_ALLOWED = "not_allowed"
    """The thing exists and has no such method."""
    TOO_LARGE = "too_large"
    TOO_MUCH = "too_much"
    """More is asked for than is let in now; the same request may pass later."""
    UNAVAILABLE = "unavailable"
    """A part of GoStack does not answer."""
    UPSTREAM = "upstream"
    """A host's agent does not answer."""
    LATE = "late"
    """The answer was not ready in time."""
    BROKEN = "broken"
    """GoStack made a mistake."""


class GoStackError(Exception):
    """An error has occurred."""

    code: ClassVar[str] = "error"
    hint: str = ""
    """Advice for the user; an error may have advice of its own, instead of its class's."""

    def __init__(self, *, hint: str = "", **values: Any) -> None:
        self.values = values
        if hint:
            self.hint = hint
        text = " ".join((type(self).__doc__ or "").split())
        super().__init__(text.format(**values))


class UnknownMessage(GoStackError):
    """The record at {place} cannot be read: {what}."""

    code = "unknown-message"


class Refusal(GoStackError):
    """The command is refused."""

    code = "refused"
    category: ClassVar[Category]
    """Why it is refused, for programs; every class has to name its own."""

    def __init_subclass__(cls) -> None:
        if not hasattr(cls, "category"):
            raise TypeError(f"{cls.__name__} must say its category")


class NotFound(Refusal):
    """There is no {kind} {id}."""

    code = "not-found"
    category = Category.NOT_FOUND


def deleted_at(at: datetime | None) -> str:
    """Return the hint for a thing that was there until this time; empty for one that is not deleted."""
    return f"It was deleted at {at:%Y-%m-%dT%H:%M:%SZ}." if at else ""


class NotThereThen(Refusal):
    """There was no {kind} {id} at {at}."""

    code = "not-there-then"
    category = Category.NOT_FOUND
    hint = "Its history shows when it was created."


class TooManyEvents(Refusal):
    """{subject} has more than {most} events, which is the most that one answer is computed from."""

    code = "too-many-events"
    category = Category.INVALID
    hint = (
        "Read its history in pages, or rebuild the read models (`gs projection rebuild`): they keep milestones from "
        "which a state in a long history is computed."
    )


class AlreadyExists(Refusal):
    """The {kind} {id} exists already."""

    code = "already-exists"
    category = Category.CONFLICT
    hint = "Choose another name, or use the existing one."


class WrongStatus(Refusal):
    """{kind} {id} is {status}; {action} needs it to be {allowed}."""

    code = "wrong-status"
    category = Category.CONFLICT


class NeverRan(Refusal):
    """{kind} {id} never ran, so there is nothing to {action}."""

    code = "never-ran"
    category = Category.CONFLICT
    hint = "Its fault says why (gs instance show). Delete it (gs instance delete) and boot again."


class TaskRunning(Refusal):
    """{kind} {id} is busy: task {task} ({action}) has run since {since}."""

    code = "task-running"
    category = Category.CONFLICT
    hint = "Wait for the task (gs task wait), or stop it (gs task cancel)."


class NoSuchTask(Refusal):
    """Task {task} does not run on {id}: it has ended, or never existed."""

    code = "no-such-task"
    category = Category.NOT_FOUND


class VersionConflict(Refusal):
    """{kind} {id} is at version {actual}, not {expected}: it was changed meanwhile."""

    code = "version-conflict"
    category = Category.PRECONDITION
    hint = "Read it again and repeat the request with the new ETag."


class InUse(Refusal):
    """{kind} {id} is in use by {user}."""

    code = "in-use"
    category = Category.CONFLICT


class ImageProtected(Refusal):
    """Image {id} is protected, and is not deleted."""

    code = "image-protected"
    category = Category.CONFLICT
    hint = "Take its protection away first: gs image update ID --no-protected."


class ImageNotReady(Refusal):
    """Image {name} is {status}: instances are made of active ones."""

    code = "image-not-ready"
    category = Category.CONFLICT
    hint = "gs image show says how far it is, and why where it failed."


def some_of(holders: Sequence[str], most: int = 3) -> str:
    """Return what uses a thing, in words: the first few, and how many more there are."""
    told = ", ".join(holders[:most])
    return f"{told} and {len(holders) - most} more" if len(holders) > most else told


class Invalid(Refusal):
    """{field} is {value}: {allowed}."""

    code = "invalid"
    category = Category.INVALID


class NotSupportedYet(Refusal):
    """{field} is not supported yet: {reason}."""

    code = "not-supported-yet"
    category = Category.INVALID
    hint = "Leave it out."


class ErrorNeedsIgnore(Refusal):
    """Instance {id} is in error: it is deleted only if the request says to ignore the error."""

    code = "error-needs-ignore"
    category = Category.CONFLICT
    hint = "Look at its fault (gs instance show), then delete it with --ignore."


class SameHost(Refusal):
    """Instance {id} is on host {host} already."""

    code = "same-host"
    category = Category.CONFLICT
    hint = "Name another host, or none to let the scheduler choose."


class SameSize(Refusal):
    """Instance {id} has flavor {flavor}, and a root disk of that size, already."""

    code = "same-size"
    category = Category.CONFLICT
    hint = "Name another flavor (gs flavor list), or a larger root disk."


class NotShelved(Refusal):
    """Instance {id} is not shelved: its root disk is not in the image store."""

    code = "not-shelved"
    category = Category.CONFLICT


class DiskInStore(Refusal):
    """Instance {id} was shelved, and the image store may have the only copy of its root disk."""

    code = "disk-in-store"
    category = Category.CONFLICT
    hint = "Unshelve it: gs instance unshelve ID."


class NothingToConfirm(Refusal):
    """Instance {id} has no migration or resize that waits to be confirmed or reverted."""

    code = "nothing-to-confirm"
    category = Category.CONFLICT


class NothingToRevert(Refusal):
    """The {type} of instance {id} is being confirmed: what it would go back to may be deleted already."""

    code = "nothing-to-revert"
    category = Category.CONFLICT


class BeingReverted(Refusal):
    """The {type} of instance {id} is being reverted: what would be confirmed may be deleted already."""

    code = "being-reverted"
    category = Category.CONFLICT


class NoAddressLeft(Refusal):
    """Network {id} has no free address left in {cidr}."""

    code = "no-address-left"
    category = Category.CONFLICT


class AddressTaken(Refusal):
    """Address {ip} of network {id} is taken by port {port}."""

    code = "address-taken"
    category = Category.CONFLICT


class VolumeElsewhere(Refusal):
    """Volume {id} is on host {host}, and the instance is not."""

    code = "volume-elsewhere"
    category = Category.CONFLICT
    hint = "A volume on a host's own disk goes to no other: make one for the instance (gs volume create --instance)."


class VolumeNotAttached(Refusal):
    """Volume {volume} is not attached to instance {id}."""

    code = "volume-not-attached"
    category = Category.CONFLICT


class TooManyVolumes(Refusal):
    """Instance {id} has {most} volumes, which is the most that one can have."""

    code = "too-many-volumes"
    category = Category.CONFLICT


class TooManySnapshots(Refusal):
    """Volume {id} has {most} snapshots, which is the most that one can have."""

    code = "too-many-snapshots"
    category = Category.CONFLICT
    hint = "Delete snapshots of it: gs volume-snapshot list --volume."


class HasLocalVolumes(Refusal):
    """Instance {id} has volumes on its host's disk, which cannot go with it: {volumes}."""

    code = "has-local-volumes"
    category = Category.CONFLICT
    hint = "Detach them first (gs instance detach-volume)."


class RootIsVolume(Refusal):
    """Instance {id} boots from volume {volume}; {action} is for instances with a local root disk."""

    code = "root-is-volume"
    category = Category.CONFLICT


class InterfaceNotAttached(Refusal):
    """Instance {id} has no network interface with port {port}."""

    code = "interface-not-attached"
    category = Category.CONFLICT
    hint = "Its interfaces, with their ports: gs instance interface-list."


class TooManyInterfaces(Refusal):
    """Instance {id} has {most} network interfaces, which is the most that one can have."""

    code = "too-many-interfaces"
    category = Category.CONFLICT


class PortBusy(Refusal):
    """Port {id} belongs to instance {device} already."""

    code = "port-busy"
    category = Category.CONFLICT


class HostGone(Refusal):
    """Host {id} is not registered in this cell."""

    code = "host-gone"
    category = Category.NOT_FOUND


class OtherCell(Refusal):
    """{kind} {id} belongs to cell {cell}, and cannot be moved to another."""

    code = "other-cell"
    category = Category.CONFLICT
    hint = "Name that cell, or choose another name."


class NoValidHost(Refusal):
    """No valid host: of {total} hosts, {story}."""

    code = "no-valid-host"
    category = Category.CONFLICT
    hint = "Free capacity, enable a host, or ask for less."


class HostFull(Refusal):
    """Host {host} has no room for it: {what}."""

    code = "host-full"
    category = Category.CONFLICT
    hint = "Free capacity on the host, or ask for less."


class ClaimGone(Refusal):
    """No host of the cell holds a claim for {id}."""

    code = "claim-gone"
    category = Category.CONFLICT


class PastMissing(Refusal):
    """The history of the scheduler cannot be computed: {what}."""

    code = "past-missing"
    category = Category.CONFLICT


class PastTooLong(Refusal):
    """More than {most} decisions lie between the two times."""

    code = "past-too-long"
    category = Category.INVALID
    hint = "Choose times that are closer together."


class Parked(Refusal):
    """{kind} {id} is parked: a record for it could not be applied ({why})."""

    code = "parked"
    category = Category.CONFLICT
    hint = "An operator must look at the dead record and release the aggregate."


FAULTS: dict[str, str] = {
    "deadline-passed": "A step was not answered in time.",
    "job-failed": "A step failed on its host.",
    "aborted": "A step was stopped on its host.",
    "power-differs": "A step was done, but its guest's power state is not the expected one.",
    "stale-epoch": "The host registered again while the step was on its way.",
    "cancelled": "The task was cancelled.",
    "no-valid-host": "The scheduler found no host.",
}
"""Code of a fault that is no refusal of a command -> its meaning."""

FAULT_HINTS: dict[str, str] = {
    "deadline-passed": "Look whether its host is up (gs host list).",
    "image-unavailable": "Look whether the image's file is in the store; if not, create the image again from its file.",
    "checksum-mismatch": "Create the image again from its file.",
    "image-unsafe": "Use another image: this one's file is not what its format says, or refers to other files.",
    "disk-too-small": "Ask for a larger root disk.",
    "volume-busy": "Delete it again in a minute: the guest of a host that is gone has it open until then.",
    "no-address-left": "Use another network, or delete ports (gs port list).",
    "network-overlaps": "Use a network with another range of addresses.",
}
"""Code of a fault -> what helps; refusals say it themselves, where they know."""


def refusals() -> dict[str, type[Refusal]]:
    """Return every refusal by its code. Raises TypeError where two have the same code."""
    found: dict[str, type[Refusal]] = {}
    pending = list(Refusal.__subclasses__())
    while pending:
        each = pending.pop()
        pending += each.__subclasses__()
        if found.setdefault(each.code, each) is not each:
            raise TypeError(f"code {each.code} stands for two refusals")
    return dict(sorted(found.items()))
