"""How much the rules of a security group have permitted, summed over the hosts that have guests in the group.

Why hosts are asked: packets are counted where they pass, and a count on the log would be a record each second for a
figure that somebody looks at once a month. So an answer may be in part, and says which hosts are not in it.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import islice
from typing import Any

from api.hosts.agent_client import Agents
from api.http.refusals import AgentUnreachable
from api.reads.queries import MOST, every_document
from domain.network.on_host import RuleCount
from projections.store.port import Store
from projections.views.view import Condition

DEADLINE = 5.0
"""Seconds after which a host that has not answered is left out."""
AT_ONCE = 50
"""Hosts that are asked at the same time."""
MOST_PORTS = 20_000
"""Ports of a group that are looked at for the hosts that they are on."""


@dataclass(frozen=True)
class GroupCounted:
    """Counters of a security group's rules, of all hosts that have answered."""

    rules: Mapping[str, RuleCount]
    """Id of a rule -> the sum of its counters."""
    hosts: int
    """How many hosts have answered."""
    silent: Sequence[dict[str, Any]]
    """Documents of the hosts that have not answered in time, sorted by name."""
    whole: bool
    """Whether all ports of the group were looked at."""


async def counted(store: Store, agents: Agents, group_id: str) -> GroupCounted:
    """Ask each host that has a guest in the group, all of them within the deadline. Raises StoreUnavailable."""
    idents, whole = await _hosts_of(store, group_id)
    hosts = [
        doc
        for part in _parts(sorted(idents))
        async for doc in every_document(store, "hosts", Condition("id", "in", part))
    ]
    turn = asyncio.Semaphore(AT_ONCE)

    async def ask(host: dict[str, Any]) -> Mapping[str, RuleCount]:
        async with turn:
            return (await agents.counters(host, group_id)).rules

    asked = {asyncio.create_task(ask(host)): host for host in hosts}
    try:
        done, _ = await asyncio.wait(asked, timeout=DEADLINE) if asked else (set(), set())
        rules: dict[str, RuleCount] = {}
        silent = [asked[task] for task in asked.keys() - done]
        for task in done:
            if isinstance(task.exception(), AgentUnreachable):
                silent.append(asked[task])
                continue
            for rule, count in task.result().items():
                rules[rule] = rules.get(rule, RuleCount()) + count
        return GroupCounted(rules, len(hosts) - len(silent), sorted(silent, key=lambda host: str(host["name"])), whole)
    finally:
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


async def _hosts_of(store: Store, group_id: str) -> tuple[set[str], bool]:
    """Return the ids of the hosts that have ports of the group, and whether all of its ports were looked at."""
    found: set[str] = set()
    looked = 0
    async with aclosing(every_document(store, "ports", Condition("security_groups", "contains", group_id))) as ports:
        async for port in ports:
            if looked == MOST_PORTS:
                return found, False
            looked += 1
            if port["host_id"]:
                found.add(port["host_id"])
    return found, True


def _parts(idents: Sequence[str]) -> Iterator[list[str]]:
    """Yield the ids in parts as large as one question to the store may be."""
    rest = iter(idents)
    while part := list(islice(rest, MOST)):
        yield part
