"""Pools, for the check: claims on them against the volumes of the log, and these against the disks that there are."""

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from cli.agents import AgentSilent, PoolVolumes
from domain.copied_disk import CopiedDisk
from domain.core.messages import Key
from domain.host.state import Host
from domain.pool import Pool

if TYPE_CHECKING:
    from cli.check import Observations

HOSTS_ASKED = 3
"""Hosts that are asked for the disks in a pool until one answers."""


def pools(seen: "Observations") -> Iterator[str]:
    """Claims on pools are those of the volumes in them, of their size, and add up to what the pool says is claimed."""
    holders = dict(seen.holders)
    kept: dict[str, Pool] = {key.id: pool for key, pool in seen.folded.states.items() if isinstance(pool, Pool)}
    for ident, pool in kept.items():
        if (summed := sum(claim.size for claim in pool.claims.values())) != pool.claimed:
            yield f"pool {ident} says that {pool.claimed} bytes are claimed, and its claims are {summed}"
        for claim_id, claim in pool.claims.items():
            holder = holders.get(Key(claim.holder_kind, claim_id))
            if holder is not None and holder.task is not None:
                continue
            if not isinstance(holder, CopiedDisk) or holder.pool_id != ident or holder.current_status == "deleted":
                yield f"pool {ident} holds a claim for {claim.holder_kind} {claim_id}, which is not there"
            elif holder.size != claim.size:
                what = f"{claim.holder_kind} {claim_id}, which has {holder.size}"
                yield f"pool {ident} holds {claim.size} bytes for {what}"
    for key, holder in holders.items():
        if isinstance(holder, CopiedDisk) and holder.pool_id and holder.host is not None and holder.task is None:
            pool_of = kept.get(holder.pool_id)
            if pool_of is None or key.id not in pool_of.claims:
                yield f"{key.kind} {key.id} is in pool {holder.pool_id} without a claim"


def pool_disks(seen: "Observations") -> Iterator[str]:
    """Every file or image in a pool is the disk of a volume, or of a snapshot, that is not deleted."""
    holders = {key.id: holder for key, holder in seen.holders if isinstance(holder, CopiedDisk)}
    for ident, there in seen.pool_disks.items():
        for disk in sorted(there):
            holder = holders.get(disk)
            if holder is None or (holder.current_status == "deleted" and holder.task is None):
                yield f"pool {ident} has a disk {disk}, which no volume has"


async def disks_in_pools(
    pools: Iterable[tuple[str, Pool]], hosts: Iterable[Host], ask: PoolVolumes
) -> dict[str, Collection[str]]:
    """Return the disks that there are, by pool; a pool that no host tells of, or reaches, is left out."""
    endpoints = {host.id: host for host in hosts if host.endpoint}
    found: dict[str, Collection[str]] = {}
    for ident, pool in pools:
        reaching = [endpoints[each] for each in pool.reached_by if each in endpoints] if pool.deleted is None else []
        for host in reaching[:HOSTS_ASKED]:
            try:
                told = await ask(host, ident)
            except AgentSilent:
                continue
            if told is not None:
                found[ident] = told
                break
    return found
