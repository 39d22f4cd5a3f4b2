"""Settings of ports for the hosts' agents, each of which asks every second: an answer costs two small queries, and
one more where networks have a way out, unless something has changed."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from cachetools import LRUCache

from api.reads.queries import every_document
from domain.network.port_settings import HostPorts, Ipv6Range, PortSettings
from domain.security_group import DEFAULT, SecurityRule, default_id, first_rules
from projections.store.port import Store
from projections.views.view import Condition

MOST_NETWORKS = 2000
"""Networks whose ports are kept in memory."""


@dataclass(frozen=True)
class NetworkPorts:
    """The ports of a network at one version of it."""

    version: int
    by_ip: Mapping[str, PortSettings]
    ids: Mapping[str, str]
    """Address of a port -> its id."""
    members: Mapping[str, tuple[str, ...]]
    """Id of a security group -> IPv4 addresses of its members."""
    members6: Mapping[str, tuple[str, ...]]
    """Id of a security group -> IPv6 addresses of its members."""
    defaults: frozenset[str]
    """Ids of the groups `default` of the ports' projects."""


class PortSettingsReader:
    """Answers hosts from the read models."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ports: LRUCache[str, NetworkPorts] = LRUCache(MOST_NETWORKS)

    async def read(self, wanted: Iterable[tuple[str, str]]) -> HostPorts:
        """Return the settings of the ports that have these addresses, given with their networks' ids."""
        asked = sorted(set(wanted))
        networks = {each["id"]: each for each in await self._by_id("networks", [network for network, _ in asked])}
        known = {ident: await self._of(ident, each["version"]) for ident, each in networks.items()}
        external = sorted(ident for ident, each in networks.items() if each.get("external"))
        leading = await self._floating(external)
        addresses: dict[str, list[str]] = {}
        for each in leading:
            addresses.setdefault(each["port_id"], []).append(each["name"])
        ports = [
            known[network].by_ip[ip].but(floating=tuple(sorted(addresses.get(known[network].ids[ip], ()))))
            for network, ip in asked
            if network in known and ip in known[network].by_ip
        ]
        found = await self._groups(ports, known.values())
        groups = {ident: rules for ident, (_, rules) in found.items()}
        named = {rule.remote_group for rules in groups.values() for rule in rules if rule.remote_group}
        versions = (
            asked,
            sorted((ident, each["version"]) for ident, each in networks.items()),
            sorted((ident, version) for ident, (version, _) in found.items()),
            sorted((each["id"], each["version"]) for each in leading),
        )
        return HostPorts(
            version=hashlib.sha256(orjson.dumps(versions)).hexdigest(),
            external=tuple(external),
            ranges6={
                ident: Ipv6Range(cidr=cidr6, mode=each["ipv6_mode"])
                for ident, each in networks.items()
                # A document of an earlier release has none.
                if (cidr6 := each.get("cidr6"))
            },
            ports=tuple(ports),
            groups=groups,
            members=_members(named, {network: each.members for network, each in known.items()}),
            members6=_members(named, {network: each.members6 for network, each in known.items()}),
        )

    async def _groups(
        self, ports: Iterable[PortSettings], networks: Iterable[NetworkPorts]
    ) -> dict[str, tuple[int, tuple[SecurityRule, ...]]]:
        """Return version and rules of the groups that these ports are in; none for a group that is deleted."""
        wanted = sorted({group for port in ports for group in port.security_groups})
        found: dict[str, tuple[int, tuple[SecurityRule, ...]]] = dict.fromkeys(wanted, (0, ()))
        for network in networks:
            for ident in network.defaults & found.keys():
                # Until anybody has used it, a project's default group is as it would be made.
                found[ident] = (0, first_rules(ident, DEFAULT))
        for doc in await self._by_id("security-groups", wanted):
            rules = () if doc["deleted"] else tuple(map(SecurityRule.model_validate, doc["rules"].values()))
            found[doc["id"]] = (doc["version"], rules)
        return found

    async def _floating(self, networks: Sequence[str]) -> list[dict[str, Any]]:
        """Return the floating addresses that lead into these networks."""
        if not networks:
            return []
        where = (Condition("network_id", "in", networks), Condition("deleted", "=", False))
        return [doc async for doc in every_document(self._store, "floating-ips", *where)]

    async def _of(self, network_id: str, version: int) -> NetworkPorts:
        kept = self._ports.get(network_id)
        if kept is not None and kept.version >= version:
            return kept
        by_ip: dict[str, PortSettings] = {}
        ids: dict[str, str] = {}
        members: dict[str, list[str]] = {}
        members6: dict[str, list[str]] = {}
        defaults: set[str] = set()
        async for doc in every_document(self._store, "ports", Condition("network_id", "=", network_id)):
            default = default_id(doc["project_id"])
            groups = tuple(doc.get("security_group_ids") or (default,))
            by_ip[doc["ip"]] = PortSettings.model_validate({**doc, "security_groups": groups})
            ids[doc["ip"]] = doc["id"]
            defaults.add(default)
            for group in groups:
                members.setdefault(group, []).append(doc["ip"])
                if ip6 := doc.get("ip6"):
                    members6.setdefault(group, []).append(ip6)
        made = NetworkPorts(version, by_ip, ids, _sorted(members), _sorted(members6), frozenset(defaults))
        self._ports[network_id] = made
        return made

    async def _by_id(self, view: str, idents: Sequence[str]) -> list[dict[str, Any]]:
        unique = sorted(set(idents))
        found = every_document(self._store, view, Condition("id", "in", unique))
        return [doc async for doc in found] if unique else []


def _members(
    named: Iterable[str], networks: Mapping[str, Mapping[str, tuple[str, ...]]]
) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return, for each of these groups, the addresses of its members in each network that has any."""
    return {
        group: {network: members[group] for network, members in sorted(networks.items()) if group in members}
        for group in sorted(named)
    }


def _sorted(members: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    return {group: tuple(sorted(ips)) for group, ips in members.items()}
