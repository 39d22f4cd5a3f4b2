"""An incident as one file: what a task or a thing lived through, and the whole history of all that it touched, so that
the very same can be folded again elsewhere, in a test above all.

Nothing secret is in it, since nothing secret is in an event: what a guest alone may know stands there as a reference.
"""

import heapq
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import datetime
from operator import attrgetter

import orjson

from api.events import entry_json
from api.refusals import TooLargeForAFile
from api.services import Services
from domain.messages import Key
from projections.moments import entries
from projections.store import Entry, HistoryQuery

FORMAT = "gostack-incident"
VERSION = 1
AT_ONCE = 1000
MOST_EVENTS = 20_000
MOST_BYTES = 32 << 20


async def of_task(services: Services, doc: dict[str, str], until: datetime | None) -> bytes:
    """The file of a task, from its document. Raises TooLargeForAFile, StoreUnavailable."""
    own = Key.parse(doc["subject"])
    query = HistoryQuery(task=doc["correlation_id"], until=until)
    # Several tasks may have been asked for at once; then other instances have their own.
    found = [
        each
        async for each in _every(services, query, f"task {doc['id']}")
        if each.subject.kind != own.kind or each.subject == own
    ]
    return await _file(services, {"task": doc["id"]}, found)


async def of_subject(services: Services, subject: Key, until: datetime | None) -> bytes:
    """The file of one thing. Raises TooLargeForAFile, StoreUnavailable."""
    query = HistoryQuery(str(subject), until=until)
    found = [each async for each in _every(services, query, str(subject))]
    return await _file(services, {"subject": str(subject)}, found)


async def _every(services: Services, query: HistoryQuery, about: str) -> AsyncIterator[Entry]:
    marker, seen = "", 0
    while True:
        page = await services.store.history(HistoryQuery(**{**vars(query), "limit": AT_ONCE, "marker": marker}))
        for entry in page:
            yield entry
        seen += len(page)
        if seen > MOST_EVENTS:
            raise TooLargeForAFile(about=about, most=f"{MOST_EVENTS} events")
        if len(page) < AT_ONCE:
            return
        marker = page[-1].id


async def _file(services: Services, about: dict[str, str], incident: list[Entry]) -> bytes:
    (what,) = about.values()
    last: dict[Key, Entry] = {}
    for entry in incident:
        before = last.get(entry.subject)
        if before is None or before.offset < entry.offset:
            last[entry.subject] = entry
    whole: dict[int, list[Entry]] = defaultdict(list)
    count = 0
    for subject, upto in last.items():
        async for entry in entries(services.store, subject):
            if entry.offset > upto.offset:
                break
            whole[entry.partition].append(entry)
            count += 1
            if count > MOST_EVENTS:
                raise TooLargeForAFile(about=what, most=f"{MOST_EVENTS} events")
    head = {
        "format": FORMAT,
        "version": VERSION,
        "made": services.clock(),
        "about": about,
        "incident": [entry.id for entry in incident],
    }
    # By time, and each partition in its own order, which is what a fold needs.
    in_order = [sorted(each, key=attrgetter("offset")) for each in whole.values()]
    texts = [entry_json(entry) for entry in heapq.merge(*in_order, key=attrgetter("time"))]
    body = orjson.dumps(head)[:-1] + b',"events":[\n' + b",\n".join(texts) + b"\n]}\n"
    if len(body) > MOST_BYTES:
        raise TooLargeForAFile(about=what, most=f"{MOST_BYTES >> 20} MiB")
    return body
