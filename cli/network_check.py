"""The networks on hosts, for the check: what a host has against what it keeps, and that against the log.

Why both: what a host keeps is what its agent mends by, so that a difference between the two is mended in seconds; one
between host and log is mended by nobody.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from domain.host.state import Host
from domain.instance.state import Instance, VmState
from domain.network.on_host import AddressOnHost, HostNetworks
from domain.network.state import Network, Port, mac_of

if TYPE_CHECKING:
    from cli.check import Observations

HAS_ADDRESSES = frozenset(
    {
        VmState.ACTIVE,
        VmState.PAUSED,
        VmState.SUSPENDED,
        VmState.STOPPED,
        VmState.SHELVED,
        VmState.RESCUED,
        VmState.SOFT_DELETED,
    }
)
"""Statuses in which an instance's host has its addresses."""


def networks(seen: "Observations") -> Iterator[str]:
    """Hosts have of their networks what they keep, and keep what the log says."""
    known = {key.id: state for key, state in seen.folded.states.items() if isinstance(state, Network)}
    instances = {instance.id: instance for instance in seen.instances}
    for host in seen.hosts:
        told = seen.networks.get(host.id)
        if told is not None:
            yield from _differences(host, told, known)
            yield from _ranges(host, told, known)
            yield from _missing(host, told, known, instances)
            yield from _too_much(host, told, known, instances)
    for name in seen.untold:
        yield f"the agent of host {name} does not tell of its networks"


def _differences(host: Host, told: HostNetworks, known: Mapping[str, Network]) -> Iterator[str]:
    """Yield how what the host has differs from what it keeps."""
    names = {each.segment: ident for ident, each in known.items()} | {each.segment: each.id for each in told.networks}
    for each in told.differences:
        network = names.get(each.segment, f"of segment {each.segment}")
        of = f"network {network}" if each.segment else "all networks"
        yield f"host {host.name}, {of}: {each.what} is {'missing' if each.missing else 'too much'}"
    if told.more:
        yield f"host {host.name}: {told.more} differences more"


def _ranges(host: Host, told: HostNetworks, known: Mapping[str, Network]) -> Iterator[str]:
    """Yield the networks of which the host keeps another IPv6 range than the log has."""
    for each in told.networks:
        network = known.get(each.id)
        if network is not None and network.cidr6 != each.cidr6:
            had = each.cidr6 or "none"
            yield f"host {host.name}, network {each.id}: IPv6 range is {network.cidr6 or 'none'}, and is kept as {had}"


def _missing(
    host: Host, told: HostNetworks, known: Mapping[str, Network], instances: Mapping[str, Instance]
) -> Iterator[str]:
    """Yield the addresses that the log says are the host's guests', and that the host does not keep so."""
    kept = {(network.id, each.ip): each for network in told.networks for each in network.addresses}
    for ident, network in known.items():
        for port in network.ports.values():
            instance = instances.get(port.instance_id)
            if port.host_id != host.id or instance is None or instance.task is not None:
                continue
            if instance.host is None or instance.host.id != host.id or instance.vm_state not in HAS_ADDRESSES:
                continue
            at = f"host {host.name}, network {ident}: address {port.ip} of instance {port.instance_id}"
            found, mac = kept.get((ident, port.ip)), mac_of(network, port)
            if found is None or found.instance_id != port.instance_id:
                yield f"{at} is missing"
            elif found.mac != mac:
                yield f"{at} is kept with MAC address {found.mac}, and is {mac}"


def _too_much(
    host: Host, told: HostNetworks, known: Mapping[str, Network], instances: Mapping[str, Instance]
) -> Iterator[str]:
    """Yield the addresses that the host keeps, and that the log does not know there."""
    for each in told.networks:
        network = known.get(each.id)
        ports = {port.ip: port for port in network.ports.values()} if network else {}
        for address in each.addresses:
            instance = instances.get(address.instance_id)
            if (instance is None or instance.task is None) and not _is_there(host, address, ports.get(address.ip)):
                of = f"address {address.ip} of instance {address.instance_id}"
                yield f"host {host.name}, network {each.id}: {of} is too much"


def _is_there(host: Host, address: AddressOnHost, port: Port | None) -> bool:
    """Return whether the log knows that the guest has the address on this host, where it may be moving from or to."""
    return port is not None and port.instance_id == address.instance_id and host.id in (port.host_id, port.also_on)
