"""The part of the check that is about shelved instances."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from domain.instance.state import VmState

if TYPE_CHECKING:
    from cli.check import Observations


def shelved(seen: "Observations") -> Iterator[str]:
    """A shelved instance has its disk in the image store, and one that is offloaded has no host and no guest."""
    for instance in seen.instances:
        if instance.task is not None or instance.vm_state not in (VmState.SHELVED, VmState.SHELVED_OFFLOADED):
            continue
        if instance.disk_image is None:
            yield f"instance {instance.id} is {instance.vm_state}, and no image is known of its disk"
        if instance.vm_state is VmState.SHELVED_OFFLOADED and instance.host is not None:
            yield f"instance {instance.id} is offloaded and has host {instance.host.name}"
