"""Why an aggregate is as it is: the events from the user's command to the present, each with the event that led to it.

How causes are found: every event names the record it came from, and the ids of records are derived from what made them
(`derived_id`), so that the way over records that history does not keep (jobs, results) is computed, not guessed. An
event that came without such a record, after a deadline or a host's own report, is linked to the last event of its
subject.
"""

from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from domain.aggregates import AGGREGATES
from domain.core.messages import Event, Key, class_of, derived_id, names_of
from domain.host.messages import (
    HostDisabled,
    HostEnabled,
    HostHeard,
    HostRegistered,
    HostSuspected,
    HostUplinkChanged,
    HostZoneAssigned,
)
from domain.network.messages import GatewayGiven, NetworkCreated, NetworkDeleted, NetworkUpdated
from domain.parking import AggregateParked, AggregateReleased
from domain.tasks.events import (
    StepsDispatched,
    TaskEvent,
)
from projections.history.sentences import describe
from projections.history.time_travel import entries
from projections.store.port import HistoryEntry, HistoryQuery, Store

LASTING: dict[str, tuple[type[Event], ...]] = {
    "host": (HostRegistered, HostUplinkChanged, HostEnabled, HostDisabled, HostZoneAssigned, HostSuspected, HostHeard),
    "network": (NetworkCreated, GatewayGiven, NetworkUpdated, NetworkDeleted),
}
"""By kind that many instances share: the events that say what the host or network is. What each instance holds there is
part of that instance's story."""
PARKING: tuple[type[Event], ...] = (AggregateParked, AggregateReleased)
MOST_STEPS = 200
"""Events of one answer, at most; the newest are kept."""
AT_ONCE = 1000
MOST_READ = 10_000
"""Events of one task or request that are looked at. An instance of a request that an earlier release made for several
is found among the events of all of them."""
MOST_REQUESTS = 20
MOST_SENT = 8
"""Records sent by one decision whose ids are tried."""


@dataclass(frozen=True)
class CausalStep:
    """An event, a sentence about it, and the id of the event that led to it; that id is empty for the first."""

    entry: HistoryEntry
    says: str
    after: str


@dataclass(frozen=True)
class CausalChain:
    """Causal steps in the order of time. `cut` is True where more steps exist, before these or beside them."""

    steps: tuple[CausalStep, ...]
    cut: bool


async def explain(store: Store, subject: Key, task: str = "") -> CausalChain:
    """Return the events that made the subject what it is, and what led to these and followed from them elsewhere.

    Where `task` is the id of a task of the subject, only that task is explained. Raises TooManyEvents,
    StoreUnavailable.
    """
    if task:
        story, cut = await _of_task(store, subject, task)
    elif subject.kind in LASTING:
        story, cut = await _of_its_state(store, subject)
    else:
        story, cut = await _of_its_last_task(store, subject)
    requests = list(dict.fromkeys(_request(entry) for entry in story))
    cut = cut or len(requests) > MOST_REQUESTS
    found = {entry.id: entry for entry in story if _request(entry) in requests[-MOST_REQUESTS:]}
    for request in requests[-MOST_REQUESTS:]:
        others, more = await _led_to(store, request)
        cut = cut or more
        found |= {entry.id: entry for entry in others if entry.subject != subject or not entry.version}
    steps = list(_linked(list(found.values()), subject))
    return CausalChain(tuple(steps[-MOST_STEPS:]), cut or len(steps) > MOST_STEPS)


async def _of_its_last_task(store: Store, subject: Key) -> tuple[list[HistoryEntry], bool]:
    """Return the subject's events since the command of its last task, and whether there were more."""
    own, more = await _newest(_own(store, subject))
    tasks = [entry.task for entry in own if issubclass(class_of(entry.type), TaskEvent)]
    began = next((number for number, entry in enumerate(own) if not tasks or _is_of(entry, tasks[-1])), 0)
    return own[began:], more and began == 0


async def _of_task(store: Store, subject: Key, task: str) -> tuple[list[HistoryEntry], bool]:
    """Return the subject's events of this task, and whether there were more."""
    return await _newest(entry async for entry in _own(store, subject) if _is_of(entry, task))


def _is_of(entry: HistoryEntry, task: str) -> bool:
    """Say whether an event of a task's subject is part of that task: it names the task, or names none and came of its
    command."""
    return entry.task == task or (not entry.task and task in (entry.correlation, entry.causation))


async def _of_its_state(store: Store, subject: Key) -> tuple[list[HistoryEntry], bool]:
    """Return, for each field of the subject's state, the event that last changed it, and the last parking or
    release."""
    state: Any = None
    last: dict[str, HistoryEntry] = {}
    async for entry in _own(store, subject):
        if not entry.version:
            last["parked"] = entry
            continue
        before, state = state, AGGREGATES[subject.kind].evolve(state, entry.event(), subject.id)
        last |= {name: entry for name, value in state if before is None or getattr(before, name) != value}
    last.pop("updated", None)
    return list({entry.id: entry for entry in last.values()}.values()), False


async def _own(store: Store, subject: Key) -> AsyncIterator[HistoryEntry]:
    """Yield the subject's events that explain it, and those that parked and released it."""
    counting = LASTING.get(subject.kind, ())
    types = tuple(name for each in (*counting, *PARKING) for name in names_of(each)) if counting else ()
    async for entry in entries(store, subject, types=types):
        if entry.version or issubclass(class_of(entry.type), PARKING):
            yield entry


async def _newest(found: AsyncIterator[HistoryEntry]) -> tuple[list[HistoryEntry], bool]:
    """Return the newest of these events, as many as one answer has, and whether there were more."""
    newest: deque[HistoryEntry] = deque(maxlen=MOST_STEPS)
    seen = 0
    async for entry in found:
        seen += 1
        newest.append(entry)
    return list(newest), seen > len(newest)


def _request(entry: HistoryEntry) -> str:
    """Return the id of the task that an event is part of, or else of the request that led to it."""
    return entry.task or entry.correlation


async def _led_to(store: Store, request: str) -> tuple[list[HistoryEntry], bool]:
    """Return the events that a task or request led to, without those of its other tasks, and whether there were
    more."""
    found: list[HistoryEntry] = []
    marker, read = "", 0
    while read < MOST_READ:
        page = await store.history(HistoryQuery(task=request, limit=AT_ONCE, marker=marker))
        found += [entry for entry in page if entry.task in ("", request)]
        read += len(page)
        if len(page) < AT_ONCE:
            return found, False
        marker = page[-1].id
    return found, True


def _linked(found: Sequence[HistoryEntry], subject: Key) -> Iterator[CausalStep]:
    """Yield, as causal steps, the events that belong to the subject: its own, and those that these led to elsewhere."""
    made: dict[str, str] = {}
    """Id of a record -> id of the event that led to the record."""
    begun: dict[str, str] = {}
    """Id of a record that no event led to, as a user's command -> id of the subject's first event that it led to."""
    last = ""
    belongs: set[str] = set()
    causes: dict[str, str] = {}
    order = sorted(found, key=lambda entry: (entry.time, entry.subject != subject, entry.partition, entry.offset))
    for entry in order:
        event = entry.event()
        if entry.causation not in causes:
            before = made.get(entry.causation, "")
            if not before and entry.subject == subject and entry.causation != entry.correlation:
                before = last
            causes[entry.causation] = before
        after = causes[entry.causation]
        if not after and entry.subject == subject:
            # One decision makes several events: they follow its first, or nothing would tell that they belong together.
            after = begun.get(entry.causation, "")
            begun.setdefault(entry.causation, entry.id)
        if entry.subject != subject and after not in belongs:
            continue
        belongs.add(entry.id)
        if entry.subject == subject:
            last = entry.id
        for ident in _sent(entry.causation, event):
            made[ident] = entry.id
        yield CausalStep(entry, describe(entry, event), after)


def _sent(cause: str, event: Event) -> Iterator[str]:
    """Yield the ids of the records that the decision on this record may have sent, and of those that these led to."""
    for number in range(MOST_SENT):
        sent = derived_id(cause, "out", number)
        yield sent
        yield from (derived_id(sent, "out", further) for further in range(MOST_SENT))
    if isinstance(event, StepsDispatched):
        yield derived_id(event.dispatch.id, "answer")
        for index in event.dispatch.steps:
            job = derived_id(event.task_id, event.dispatch.direction, index)
            yield derived_id(event.dispatch.id, f"started/{job}")
