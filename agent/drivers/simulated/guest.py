"""A guest as a simulated hypervisor remembers it, and what it says on its console."""

import base64
from dataclasses import dataclass, field
from typing import Any

from agent.drivers.driver import Secrets
from domain.guest_spec import Power
from domain.host.local_disks import LocalDisk

CONSOLE_MOST = 16 << 10
"""Bytes of console that are kept of a guest."""


def kept_form(secrets: Secrets) -> dict[str, str]:
    """Return secrets in the form in which a host keeps them as JSON: user data may be no text."""
    return {"password": secrets.password, "user_data_base64": base64.b64encode(secrets.user_data).decode()}


@dataclass
class SimulatedGuest:
    """A guest as the simulated hypervisor remembers it."""

    disk: str = ""
    """Checksum of the image that its disk was made of; empty where it has none."""
    old_disk: str = ""
    """Checksum of the image that the disk was made of that was put aside; empty where none was."""
    size: int = 0
    """Size of its disk, in bytes; 0 where an earlier release made it and did not say."""
    old_size: int = 0
    """Size of the disk that was put aside, in bytes."""
    root: str = ""
    """Id of the volume that it boots from in place of a disk of its own; empty: it has one."""
    rescue_disk: str = ""
    """Checksum of the image that its rescue disk was made of; empty where it has none."""
    rescued: bool = False
    """Whether the guest boots from its rescue disk."""
    power: str = Power.NONE
    hostname: str = ""
    addresses: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    """Ids of the volumes that it has as disks."""
    boots: int = 0
    user_data: str = ""
    """The user data that the guest was given, by an earlier release; else it is in `told`."""
    told: dict[str, Any] = field(default_factory=dict)
    """The record by which the guest is told about itself, with its secrets; empty before it is told."""
    console: str = ""

    @property
    def defined(self) -> bool:
        """The hypervisor knows it."""
        return self.power != Power.NONE

    @property
    def secrets(self) -> Secrets | None:
        """The secrets that the guest was told; None where it was told nothing."""
        if not self.told:
            return Secrets(user_data=self.user_data.encode()) if self.user_data else None
        # An earlier release kept it as text.
        told = base64.b64decode(self.told.get("user_data_base64", "")) or self.told.get("user_data", "").encode()
        return Secrets(self.told["password"], told)

    def local_disk(self, instance_id: str) -> LocalDisk:
        """Return its root disk, as a file that is not there."""
        return LocalDisk(
            name="root",
            device="vda" if self.defined else "",
            path=f"/simulated/instances/{instance_id}/disk.qcow2",
            format="qcow2",
            virtual_size=self.size,
            real_size=0,
            backing_file=f"/simulated/cache/{self.disk}",
        )

    def boot(self) -> None:
        """Say what a guest says when it starts, by what it is told."""
        self.boots += 1
        lines = [f"hostname={self.told.get('hostname', self.hostname)}"]
        lines += [f"address={address} dev=eth{number}" for number, address in enumerate(self.addresses)]
        self.say([*lines, f"boots={self.boots}", "ready"])

    def end(self) -> None:
        """Power the guest off."""
        self.power = Power.SHUTDOWN
        self.say(["powering off"])

    def say(self, lines: list[str]) -> None:
        """Add lines to the guest's console."""
        said = "".join(f"gostack-guest: {line}\n" for line in lines)
        self.console = (self.console + said)[-CONSOLE_MOST:]
