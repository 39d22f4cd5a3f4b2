"""Properties of images: what a guest needs of its host, by the names and values that Glance and Nova know them by.

Why a closed table: a property that nothing reads, or with a value that no host has, would look as if it had an effect.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from domain.core.errors import Invalid

ARCH = r"^[a-z0-9_]{1,32}$"
"""Names of processor architectures, such as x86_64, or amd64, a synonym of that."""
ARCHITECTURES = ("aarch64", "armv7l", "i686", "ppc64le", "riscv64", "s390x", "x86_64")
"""The architectures by the names under which hosts register."""
SYNONYMS = {"amd64": "x86_64", "x64": "x86_64", "arm64": "aarch64", "i386": "i686", "x86": "i686", "ppc64el": "ppc64le"}
"""Other names of architectures -> the name that hosts have."""
DISK_BUSES = ("virtio", "scsi", "sata")
VIF_MODELS = ("virtio", "e1000", "e1000e", "rtl8139")
OS_TYPES = ("linux", "windows", "freebsd", "other")
LONGEST_VALUE = 64
_PRINTED = re.compile(rf"[\x20-\x7e]{{1,{LONGEST_VALUE}}}")


@dataclass(frozen=True)
class Property:
    """A property that an image may have."""

    help: str
    values: tuple[str, ...] = ()
    """The values that it may have; empty: any printable one of ASCII."""

    @property
    def allowed(self) -> str:
        """The values that it may have, in words."""
        return ", ".join(self.values) or f"1 to {LONGEST_VALUE} printable characters of ASCII"


PROPERTIES: dict[str, Property] = {
    "os_type": Property("operating system", OS_TYPES),
    "os_distro": Property("distribution, such as debian; told, and nothing follows from it"),
    "os_version": Property("version of the distribution; told, and nothing follows from it"),
    "hw_disk_bus": Property("bus of the root disk; virtio unless said", DISK_BUSES),
    "hw_vif_model": Property("model of the network interfaces; virtio unless said", VIF_MODELS),
}
"""Name of a property -> what it means."""
FIELDS = {"architecture": "arch", "min_disk": "min_disk", "min_ram": "min_ram", "hw_architecture": "arch"}
"""Properties of other clouds' images -> the fields that images have for them here."""
MOST_PROPERTIES = len(PROPERTIES)


def architecture(name: str) -> str:
    """Return the name that hosts have of an architecture. Raises Invalid for one that is not known."""
    known = SYNONYMS.get(name.lower(), name.lower())
    if known not in ARCHITECTURES:
        allowed = f"one of {', '.join((*ARCHITECTURES, *SYNONYMS))}"
        raise Invalid(field="arch", value=name[:32], allowed=allowed)
    return known


def must_be_properties(properties: Mapping[str, str], empty: Callable[[str], bool] = lambda value: False) -> None:
    """Check names and values of properties, but for values that are `empty`. Raises Invalid."""
    for name, value in properties.items():
        found = PROPERTIES.get(name)
        if found is None:
            hint = f"{FIELDS[name]} is a field of its own" if name in FIELDS else f"known are {', '.join(PROPERTIES)}"
            raise Invalid(field=f"properties.{name[:32]}", value=value[:LONGEST_VALUE], allowed=hint)
        if empty(value):
            continue
        if value not in found.values if found.values else not _PRINTED.fullmatch(value):
            raise Invalid(field=f"properties.{name}", value=value[:LONGEST_VALUE], allowed=found.allowed)
