"""Lists: pages of fifty instances out of many, filters mixed, at any depth, beside the same SQL through psycopg.

The rows are put into the read model as the projector would put them; the API is the real process. Depth is reached by
markers taken from all over the list, as a reader who pages through all of it has them.
"""

import asyncio
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from domain.core.cells import DEFAULT_CELL
from domain.guest_spec import FlavorRef, HostRef, ImageRef, Nic, Power
from domain.instance.state import Instance, VmState
from projections.store.port import ProjectionBatch
from projections.store.postgres import PostgresStore
from projections.views.instances import document
from projections.views.table import VIEWS
from projections.views.view import Condition, Query, Row
from tests.benchmarks.processes import percentile, spread
from tests.real.cluster import Cluster

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PROJECTS, HOSTS, FLAVORS = 50, 500, 20
AT_ONCE = 8
FILL = 1000
STATUSES = (*([VmState.ACTIVE] * 8), VmState.STOPPED, VmState.ERROR)


def instance(number: int) -> Instance:
    """One of many, different enough."""
    host = number % HOSTS
    return Instance(
        id=str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))),
        name=f"web-{number}",
        hostname=f"web-{number}",
        project=f"project-{number % PROJECTS}",
        owner=f"user-{number % 7}",
        created=NOW + timedelta(seconds=number),
        updated=NOW + timedelta(seconds=number),
        vm_state=STATUSES[number % len(STATUSES)],
        power=Power.RUNNING,
        flavor=FlavorRef(id=str(uuid.UUID(int=number % FLAVORS)), name="small", core=1, memory=1 << 30),
        image=ImageRef(id=str(uuid.UUID(int=1)), name="tiny", checksum="0" * 64, format="raw", size=1, virtual_size=1),
        disk=1 << 30,
        host=HostRef(id=str(uuid.UUID(int=host)), name=f"host-{host}", partition=0, epoch=1),
        nics=(Nic(network_id=str(uuid.UUID(int=2)), ip=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"),),
        metadata={"role": "web", "number": str(number)},
    )


def row(number: int) -> Row:
    """Its row."""
    now = instance(number)
    doc = document(now, 12)
    columns = {
        "name": now.name,
        "project": now.project,
        "owner": now.owner,
        "status": doc["status"],
        "vm_state": now.vm_state,
        "flavor_id": now.flavor.id,
        "image_id": now.image.id,
        "host_id": now.host.id if now.host else "",
        "host_name": now.host.name if now.host else "",
        "key_name": "",
        "zone": "",
        "ips": doc["addresses"],
        "updated": now.updated,
        "deleted": False,
    }
    return Row(id=now.id, version=12, created=now.created, columns=columns, doc=doc)


def host_row(number: int) -> Row:
    """The row of a host of the instances, by whose name a list is narrowed: a name that nothing has is refused."""
    name = f"host-{number}"
    columns = {"name": name, "zone": "", "cell": DEFAULT_CELL, "enabled": False, "health": "suspect"}
    return Row(str(uuid.UUID(int=number)), 1, NOW, columns, {"id": str(uuid.UUID(int=number)), "name": name})


async def fill(store: PostgresStore, first: int, upto: int) -> None:
    """Rows of these numbers, and of the hosts that they name."""
    hosts = ProjectionBatch()
    hosts.rows["hosts"] = {each.id: each for each in map(host_row, range(HOSTS))}
    await store.apply(hosts)
    for start in range(first, upto, FILL):
        batch = ProjectionBatch()
        batch.rows["instances"] = {each.id: each for each in map(row, range(start, min(start + FILL, upto)))}
        await store.apply(batch)


def wishes(rows: int, seed: int) -> tuple[dict[str, str], tuple[Condition, ...], str]:
    """A page that somebody might want: as query parameters, as conditions, and its marker."""
    chance = random.Random(seed)
    project, host = f"project-{chance.randrange(PROJECTS)}", f"host-{chance.randrange(HOSTS)}"
    status, number = chance.choice(("active", "stopped", "error")), chance.randrange(rows)
    alive = Condition("deleted", "=", False)
    choices: list[tuple[dict[str, str], tuple[Condition, ...]]] = [
        ({}, (alive,)),
        ({"project_id": project}, (alive, Condition("project", "=", project))),
        ({"status": status}, (alive, Condition("status", "in", [status]))),
        ({"status": "stopped,error"}, (alive, Condition("status", "in", ["stopped", "error"]))),
        ({"host_name": host}, (alive, Condition("host_name", "=", host))),
        ({"name": f"web-{number}"}, (alive, Condition("name", "=", f"web-{number}"))),
    ]
    parameters, where = chance.choice(choices)
    marker = instance(chance.randrange(rows)).id if chance.random() < 0.6 else ""
    return {**parameters, "limit": "50", **({"marker": marker} if marker else {})}, where, marker


async def _load(seconds: float, ask: Callable[[int], Awaitable[None]]) -> tuple[float, list[float]]:
    times: list[float] = []
    begin = time.perf_counter()
    seeds = iter(range(10_000_000))

    async def client() -> None:
        while time.perf_counter() - begin < seconds:
            start = time.perf_counter()
            await ask(next(seeds))
            times.append(time.perf_counter() - start)

    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    return len(times) / (time.perf_counter() - begin), times


async def measure(cluster: Cluster, rows: int, rounds: int = 3, seconds: float = 4.0, first: int = 0) -> dict[str, Any]:
    """Pages a second through the API and through psycopg, in turn. Rows below `first` are there already."""
    assert VIEWS
    store = PostgresStore(cluster.postgres.dsn, AT_ONCE)
    await store.open()
    await fill(store, first, rows)
    api: list[float] = []
    bare: list[float] = []
    every: list[float] = []
    try:
        async with aiohttp.ClientSession(cluster.url) as session:

            async def through_api(seed: int) -> None:
                parameters, _, _ = wishes(rows, seed)
                async with session.get("/v1/instances", params=parameters) as answer:
                    answer.raise_for_status()
                    await answer.read()

            async def through_psycopg(seed: int) -> None:
                _, where, marker = wishes(rows, seed)
                await store.page("instances", Query(where=where, limit=50, marker=marker))

            await _load(1.0, through_api)
            for _ in range(rounds):
                rate, times = await _load(seconds, through_api)
                api.append(rate)
                every += times
                bare.append((await _load(seconds, through_psycopg))[0])
    finally:
        await store.close()
    return {
        "rows": rows,
        "at_once": AT_ONCE,
        "pages_per_second": spread(api),
        "ms": {p: round(percentile(every, p) * 1000, 1) for p in (50, 95, 99)},
        "psycopg_pages_per_second": spread(bare),
    }
