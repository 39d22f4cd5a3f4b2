"""The root disk of a boot: a local one made of an image, or a volume, one that is there or a new one.

Why apart: what a request may say of it is a table of two fields, its source and its place, and each pair needs other
things to be named.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from api.reads import resolve
from api.services import Services
from domain.core.errors import Invalid
from domain.core.text import in_units
from domain.disk_source import DiskRef, NewRoot, RootVolume, SourceKind, VolumeSource
from domain.guest_spec import FlavorRef, ImageRef
from domain.jobs.pool import PoolSight
from domain.pool import MOST_HOSTS, PoolNotReached

GIB = 1 << 30
LOCAL, VOLUME = "local", "volume"
DESTINATIONS = (LOCAL, VOLUME)
"""Places of a root disk: its host's own disk, or a volume."""
SOURCES = ("image", "volume", "snapshot", "blank", LOCAL)
"""Sources of a root disk; `local` is another word for a local disk of an image."""


class RootWish(Protocol):
    """The part of a boot's request that says which root disk it is to have."""

    image: str | None
    volume: str | None
    snapshot: str | None
    volume_size: int | None
    source_type: str | None
    dest_type: str | None
    pool: str | None
    delete_on_termination: bool
    count: int


@dataclass(frozen=True)
class BootRoot:
    """The root disk of the instances of a boot."""

    image: ImageRef
    disk: int = 0
    """Size of a local root disk, in bytes; 0 where it is a volume."""
    volume: RootVolume | None = None
    """The volume, without the id of one that is to be made."""
    host: str = ""
    """Id of the one host where it is, or can be; empty: any."""
    cells: Sequence[str] = ()
    """The cell of that host; none: any."""

    def of(self, volume_id: str, name: str) -> RootVolume | None:
        """Return the volume of one instance, with this id and this name where it is to be made; None: it is local."""
        if self.volume is None or self.volume.new is None:
            return self.volume
        return self.volume.but(id=volume_id, new=self.volume.new.but(name=name))


async def root_of(services: Services, body: RootWish, flavor: FlavorRef, project: str) -> BootRoot:
    """Return the root disk that a request asks for, of the flavor's size where it says no other.

    Raises a Refusal that names the field which is wrong.
    """
    source, place = _pair(body)
    _must_fit_together(body, source, place)
    if place == LOCAL:
        image = await _image(services, body, project)
        return BootRoot(image, disk=_size(body, flavor, VolumeSource.of_image(image)) or _least(image))
    if source == "volume":
        return await _existing(services, body, project)
    if source == "snapshot":
        return await _of_snapshot(services, body, flavor, project)
    image = await _image(services, body, project)
    return await _new(services, body, flavor, project, VolumeSource.of_image(image), image)


def _pair(body: RootWish) -> tuple[str, str]:
    """Return source and place, by what is named where they are not said. Raises Invalid for what is neither."""
    said = (("source_type", body.source_type, SOURCES), ("dest_type", body.dest_type, DESTINATIONS))
    for field, value, known in said:
        if value is not None and value not in known:
            raise Invalid(field=field, value=value, allowed=f"{', '.join(known)} are allowed")
    source = body.source_type or ("volume" if body.volume else "snapshot" if body.snapshot else "image")
    if source == LOCAL:
        source, place = "image", body.dest_type or LOCAL
    else:
        place = body.dest_type or (LOCAL if source == "image" else VOLUME)
    return source, place


def _must_fit_together(body: RootWish, source: str, place: str) -> None:
    """Raise Invalid for a source that is not named, or whose pair with the place there is not, and for what is said
    beside it without a meaning."""
    named = {"image": body.image, "volume": body.volume, "snapshot": body.snapshot}
    if source == "blank":
        raise Invalid(field="source_type", value=source, allowed="there is nothing on an empty disk to boot from")
    if named[source] is None:
        raise Invalid(field=source, value="missing", allowed=f"a root disk of source {source} needs one")
    if other := next((name for name, value in named.items() if value is not None and name != source), ""):
        raise Invalid(field=other, value=named[other], allowed=f"the root disk is of one thing, which is the {source}")
    if place == LOCAL and source != "image":
        raise Invalid(field="dest_type", value=place, allowed="a local root disk is made of an image")
    if place == LOCAL and body.delete_on_termination:
        allowed = "a local root disk always goes with its instance"
        raise Invalid(field="delete_on_termination", value=True, allowed=allowed)
    made = place == VOLUME and source != "volume"
    if body.pool is not None and not made:
        raise Invalid(field="pool", value=body.pool, allowed="it is for a volume that is made (dest_type volume)")
    if source == "volume" and body.volume_size is not None:
        raise Invalid(field="volume_size", value=body.volume_size, allowed="the volume has its size (gs volume extend)")
    if source == "volume" and body.count > 1:
        raise Invalid(field="count", value=body.count, allowed="a volume is for one instance")


async def _image(services: Services, body: RootWish, project: str) -> ImageRef:
    return ImageRef.model_validate(await resolve.usable(services, "images", str(body.image), project))


def _least(image: ImageRef) -> int:
    return max(image.virtual_size, image.min_disk)


def _size(body: RootWish, flavor: FlavorRef, source: VolumeSource) -> int:
    """Return the size that is asked for, or the flavor's, in bytes; 0: neither. Raises Invalid for one with no room for
    its source."""
    if body.volume_size is None:
        if 0 < flavor.disk < source.size:
            needs = f"{source.kind} {source.name} needs a root disk of {in_units(source.size)}"
            allowed = f"{needs}, and the flavor's has {in_units(flavor.disk)}; name another size (volume_size)"
            raise Invalid(field="flavor", value=flavor.name, allowed=allowed)
        return flavor.disk
    asked_for = body.volume_size * GIB
    if asked_for < source.size:
        least = -(-source.size // GIB)
        needs = f"{source.kind} {source.name} needs {least} GiB at least"
        raise Invalid(field="volume_size", value=body.volume_size, allowed=needs)
    return asked_for


async def _existing(services: Services, body: RootWish, project: str) -> BootRoot:
    """Return a volume that is there. Raises Invalid for one that nothing can boot from, and what `usable` raises."""
    doc = await resolve.usable(services, "volumes", str(body.volume), project)
    disk = DiskRef.model_validate(doc)
    if disk.image is None:
        raise Invalid(field="volume", value=disk.name, allowed="one that was made of an image; this one began empty")
    root = RootVolume(
        id=disk.id,
        delete_on_termination=body.delete_on_termination,
        reached_by=await _reached_by(services, disk.pool_id, project),
    )
    host, cells = ("", ()) if disk.pool_id else (doc["host_id"], (resolve.cell(doc),))
    return BootRoot(disk.image, volume=root, host=host, cells=cells)


async def _of_snapshot(services: Services, body: RootWish, flavor: FlavorRef, project: str) -> BootRoot:
    """Return a volume that is to be made of a snapshot, in the snapshot's pool where no other is named."""
    doc = await resolve.usable(services, "volume-snapshots", str(body.snapshot), project)
    disk = DiskRef.model_validate(doc)
    if disk.image is None:
        allowed = "one of a volume that was made of an image; this one's began empty"
        raise Invalid(field="snapshot", value=disk.name, allowed=allowed)
    source = VolumeSource.of_disk(SourceKind.SNAPSHOT, disk)
    new = await _new(services, body, flavor, project, source, disk.image)
    assert new.volume is not None
    assert new.volume.new is not None
    if new.volume.new.pool_id:
        return new
    # A copy on a host's own disk is made by a host that reaches what is copied.
    return BootRoot(disk.image, volume=new.volume, host=doc["host_id"], cells=(resolve.cell(doc),))


async def _new(
    services: Services, body: RootWish, flavor: FlavorRef, project: str, source: VolumeSource, image: ImageRef
) -> BootRoot:
    """Return a volume that is to be made of this source."""
    pool_id = source.pool_id
    if body.pool is not None:
        pool_id = await resolve.ident(services, "pools", body.pool, project)
    new = NewRoot(name="", size=_size(body, flavor, source) or source.size, source=source, pool_id=pool_id)
    root = RootVolume(
        id="",
        delete_on_termination=body.delete_on_termination,
        reached_by=await _reached_by(services, pool_id, project),
        new=new,
    )
    return BootRoot(image, volume=root)


async def _reached_by(services: Services, pool_id: str, project: str) -> tuple[str, ...]:
    """Return the ids of the hosts that reach a pool; none for what is in no pool. Raises PoolNotReached, NotFound."""
    if not pool_id:
        return ()
    pool: dict[str, Any] = orjson.loads((await resolve.found(services, "pools", pool_id, project)).doc)
    hosts = sorted(ident for ident, host in pool["hosts"].items() if host["sight"] == PoolSight.REACHED)
    if not hosts:
        raise PoolNotReached(pool=pool["name"])
    return tuple(hosts[:MOST_HOSTS])
