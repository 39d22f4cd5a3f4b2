"""Commands that mean something, made from their classes: so that a verb that is added is tested, and lived through in
the simulation, before anybody writes a test for it.

A field with a default keeps it; one without gets a value by its name or its type. Where neither table has one, making
the command raises TypeError, which says where to add it.
"""

import uuid
from random import Random
from typing import Any, Literal, TypeVar, get_args, get_origin

from hypothesis import strategies as st
from pydantic.fields import FieldInfo

from domain.core.fields import holds, references
from domain.core.messages import Command
from domain.disk_source import DiskRef
from domain.guest_spec import FlavorRef, ImageRef, Nic
from domain.instance.actions.placement.resize import ResizeInstance
from domain.instance.actions.storage.clone import Clone, CloneInstance
from domain.instance.spec import InstanceSpec
from domain.volume.actions import CreateVolume, ExtendVolume

C = TypeVar("C", bound=Command)

NETWORK = str(uuid.UUID(int=99))
FLAVOR = FlavorRef(id="f", name="small", core=1, memory=1 << 30)
LARGER = FlavorRef(id="l", name="large", core=2, memory=2 << 30)
IMAGE = ImageRef(id="i", name="tiny", checksum="0" * 64, format="qcow2", size=1, virtual_size=1 << 26)

BY_NAME: dict[str, Any] = {
    "disk": 1 << 30,
    "hostname": "web",
    "name": "web",
    # What asks for a word more gets it: without, the verb is refused and nothing is tried.
    "ignore": True,
    "network": NETWORK,
    "size": 1 << 30,
    "nics": (Nic(network_id=NETWORK, network_name="lan"),),
}
"""Field -> its value, in whichever command."""
BY_COMMAND: dict[type[Command], dict[str, Any]] = {
    # More than a volume has that was created with the size above.
    ExtendVolume: {"size": 2 << 30},
    # More than an instance has that was booted with the disk above.
    ResizeInstance: {"disk": 2 << 30},
    CloneInstance: {
        "spec": InstanceSpec(
            name="copy", hostname="copy", flavor=FLAVOR, image=IMAGE, disk=1 << 30, nics=(Nic(network_id=NETWORK),)
        ),
        "clones": tuple(
            Clone(id=str(uuid.UUID(int=500 + number)), name=f"copy-{number}", hostname=f"copy-{number}")
            for number in range(2)
        ),
    },
}
"""Command -> values of its fields that differ from those of other commands' fields with that name."""
BY_KIND: dict[str, tuple[Any, ...]] = {
    "flavor": (LARGER, FLAVOR),
    "security-group": tuple(str(uuid.UUID(int=400 + number)) for number in range(2)),
    "volume": tuple(str(uuid.UUID(int=200 + number)) for number in range(3)),
    "volume-snapshot": tuple(str(uuid.UUID(int=500 + number)) for number in range(2)),
    "port": tuple(str(uuid.UUID(int=300 + number)) for number in range(2)),
}
"""Kind that a field without a default refers to -> ids that it may have, or the things themselves where the field holds
those; the first, where nothing is chosen."""
SOMETIMES: dict[type[Command], dict[str, tuple[Any, ...]]] = {
    CreateVolume: {
        "image": (None, None, IMAGE),
        "volume": (None, None, "volume"),
        "snapshot": (None, None, "volume-snapshot"),
    },
}
"""Command -> fields with a default -> what may stand there where one is drawn: a value, or the kind of a thing."""
BY_TYPE: dict[Any, Any] = {str: "sample", int: 1, float: 1.0, bool: True, FlavorRef: FLAVOR, ImageRef: IMAGE}
"""Type of a field without a default -> its value."""


def sample(command: type[C], **values: Any) -> C:
    """Make a command of this class. Raises TypeError for a field that no table here has a value for."""
    return command(**(_values(command) | values))


def samples(command: type[C]) -> st.SearchStrategy[C]:
    """Commands of this class that differ in what is a choice: flags, and fields of few values."""
    choices = _choices(command)
    fixed = {name: st.just(value) for name, value in _values(command).items() if name not in choices}
    return st.builds(command, **fixed, **{name: st.sampled_from(values) for name, values in choices.items()})


def drawn(command: type[C], random: Random) -> C:
    """Make a command of this class with choices that the seed makes."""
    chosen = {name: random.choice(values) for name, values in sorted(_choices(command).items())}
    for name, values in sorted(SOMETIMES.get(command, {}).items()):
        value = random.choice(values)
        things = _referred(command.model_fields[name], value) if isinstance(value, str) else (value,)
        chosen[name] = random.choice(things)
    return sample(command, **chosen)


def _values(command: type[Command]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, field in command.model_fields.items():
        if name in BY_COMMAND.get(command, {}):
            values[name] = BY_COMMAND[command][name]
        elif name in BY_NAME:
            values[name] = BY_NAME[name]
        elif field.is_required() and name in references(command):
            values[name] = _referred(field, references(command)[name].kind)[0]
        elif field.is_required():
            if field.annotation not in BY_TYPE:
                raise TypeError(f"{command.__name__}.{name}: add a value of it to tests/harness/samples.py")
            values[name] = BY_TYPE[field.annotation]
    return values


def _choices(command: type[Command]) -> dict[str, tuple[Any, ...]]:
    choices: dict[str, tuple[Any, ...]] = {}
    for name, field in command.model_fields.items():
        if field.annotation is bool:
            choices[name] = (False, True)
        elif get_origin(field.annotation) is Literal:
            choices[name] = get_args(field.annotation)
        elif field.is_required() and (mark := references(command).get(name)) and mark.kind in BY_KIND:
            choices[name] = _referred(field, mark.kind)
    return choices


def _referred(field: FieldInfo, kind: str) -> tuple[Any, ...]:
    """What a field that refers to this kind may hold: ids, or disks with these ids."""
    if holds(field) is DiskRef:
        return tuple(DiskRef(id=ident, name="web", size=BY_NAME["size"], image=IMAGE) for ident in BY_KIND[kind])
    return BY_KIND[kind]
