"""Volumes that are images in a pool of a Ceph cluster (RADOS block devices).

QEMU reaches the cluster itself, as the pool's Ceph user: a guest's definition names the configuration on the host, and
a secret of libvirt's that has the user's key. A guest whose host is shut out by the cluster stands still rather than
hearing that its disk is broken.
"""

import base64
import configparser
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree import ElementTree as ET

from agent.drivers.driver import DriverError, DriverFault
from agent.drivers.storage import ceph
from agent.drivers.storage.ceph import CephFault, CephPool
from agent.drivers.storage.store import CephSecret, DiskSource, QemuDisk, of_another_size
from domain.jobs.pool import PoolPlace, PoolSight, PoolSpace
from infra.process import failpoints

LOOK_SECONDS = 4
"""Time for each answer to a look, which is repeated every few seconds."""
FRESH = ".new"
"""End of the name of an image that is a copy, and not whole yet."""
DRIVER = {"type": "raw", "cache": "none", "error_policy": "stop"}


class RbdPool:
    """A pool of a Ceph cluster, with the pool's id in it."""

    def __init__(self, place: PoolPlace) -> None:
        self._place = place

    def create(self, volume_id: str, size: int) -> None:
        """Make an image; one that is there in part is made anew."""
        with self._reached() as pool:
            image = name_of(volume_id)
            if not pool.create(image, size):
                has = pool.size(image)
                if has is None:
                    # Whoever made it died on the way: it has a name, and nothing else.
                    pool.remove(image)
                    pool.create(image, size)
                elif has != size:
                    raise of_another_size(volume_id)
            failpoints.point("ceph-image-made")

    def size(self, volume_id: str) -> int | None:
        """Return the size of the image."""
        with self._reached() as pool:
            return pool.size(name_of(volume_id))

    def extend(self, volume_id: str, size: int) -> None:
        """Have the cluster resize the image."""
        with self._reached() as pool:
            pool.resize(name_of(volume_id), size)

    def delete(self, volume_id: str) -> None:
        """Remove the image with its data, and one that is half made."""
        with self._reached() as pool:
            for image in (fresh_name(volume_id), name_of(volume_id)):
                _remove(pool, image, volume_id)

    def content(self, volume_id: str) -> QemuDisk | None:
        """Return the image, raw."""
        size = self.size(volume_id)
        return QemuDisk(self._in_qemu(name_of(volume_id)), "raw", size) if size is not None else None

    def begin_copy(self, volume_id: str, size: int) -> QemuDisk | None:
        """Return an image of another name, which is made when it is written."""
        with self._reached() as pool:
            has = pool.size(name_of(volume_id))
            if has is not None and has != size:
                raise of_another_size(volume_id)
            _remove(pool, fresh_name(volume_id), volume_id)
        return QemuDisk(self._in_qemu(fresh_name(volume_id)), "raw", 0) if has is None else None

    def finish_copy(self, volume_id: str, size: int) -> None:
        """Have the cluster resize the image, and give it the volume's name."""
        with self._reached() as pool:
            pool.resize(fresh_name(volume_id), size)
            failpoints.point("libvirt-volume-copied")
            pool.rename(fresh_name(volume_id), name_of(volume_id))

    def drop_copy(self, volume_id: str) -> None:
        """Remove the image of another name."""
        with self._reached() as pool:
            _remove(pool, fresh_name(volume_id), volume_id)

    def disk(self, volume_id: str) -> DiskSource:
        """Return the image's name, and the key for it."""
        with self._reached():
            name = f"{self._place.ceph_pool}/{name_of(volume_id)}"
        secret = self._secret()
        source = ET.Element("source", {"protocol": "rbd", "name": name})
        ET.SubElement(source, "config", {"file": self._place.ceph_conf})
        auth = ET.SubElement(source, "auth", {"username": self._place.ceph_user})
        ET.SubElement(auth, "secret", {"type": "ceph", "uuid": secret.uuid})
        return DiskSource("network", source, DRIVER, secret)

    def volumes(self) -> list[str]:
        """Return the names of the images, but for copies that are being made."""
        with self._reached() as pool:
            return [each for each in pool.images() if not each.endswith(FRESH)]

    def expect_reached(self) -> None:
        """Look for the mark. Raises DriverError "pool-not-reached"."""
        with self._reached():
            return

    def look(self, founds: bool) -> PoolSpace:
        """Look for the pool in the cluster and the mark in it, and how much it can hold."""
        with ceph.opened(self._place, LOOK_SECONDS) as pool:
            if founds and not pool.mark():
                pool.found(self._place.id)
            sight = self._sight(pool)
            if sight is not PoolSight.REACHED:
                return PoolSpace(sight=sight)
            capacity, available = pool.space()
            return PoolSpace(sight=sight, capacity=capacity, available=available)

    def _in_qemu(self, image: str) -> str:
        """Return what QEMU calls an image, with the configuration and the key with which it is reached."""
        keyring = str(ceph.keyring_of(self._place))
        options = {"id": self._place.ceph_user, "conf": self._place.ceph_conf, "keyring": keyring}
        said = "".join(f":{name}={_escaped(value)}" for name, value in options.items())
        return f"rbd:{_escaped(self._place.ceph_pool)}/{image}{said}"

    @contextmanager
    def _reached(self) -> Iterator[CephPool]:
        """Open the pool, where it is this one. Raises DriverError "pool-not-reached"."""
        try:
            with ceph.opened(self._place, ceph.SECONDS) as pool:
                sight = self._sight(pool)
                if sight is not PoolSight.REACHED:
                    raise CephFault(sight, f"pool {self._place.ceph_pool}")
                yield pool
        except CephFault as problem:
            message = f"this host does not reach pool {self._place.name}: {problem.sight}"
            raise DriverError(DriverFault.POOL_NOT_REACHED, message, str(problem)) from problem

    def _sight(self, pool: CephPool) -> PoolSight:
        marked = pool.mark()
        if not marked:
            return PoolSight.NOT_MARKED
        return PoolSight.REACHED if marked == self._place.id else PoolSight.OF_ANOTHER

    def _secret(self) -> CephSecret:
        """Read the user's key. Raises DriverError "pool-not-reached" where the keyring has none."""
        keyring = configparser.ConfigParser(interpolation=None, strict=False)
        try:
            keyring.read(ceph.keyring_of(self._place))
            key = base64.b64decode(keyring[f"client.{self._place.ceph_user}"]["key"], validate=True)
        except (configparser.Error, KeyError, OSError, ValueError) as problem:
            message = f"this host does not reach pool {self._place.name}: {PoolSight.NOT_EQUIPPED}"
            raise DriverError(DriverFault.POOL_NOT_REACHED, message, "the keyring has no key of the user") from problem
        return CephSecret(secret_id(self._place.id), f"gostack pool {self._place.id}", key)


def name_of(volume_id: str) -> str:
    """Return the name of a volume's image. Raises ValueError for an id that is no UUID."""
    return str(uuid.UUID(volume_id))


def fresh_name(volume_id: str) -> str:
    """Return the name of an image that is to be the volume's once it is whole."""
    return f"{name_of(volume_id)}{FRESH}"


def secret_id(pool_id: str) -> str:
    """Return libvirt's id of the secret for a pool."""
    return str(uuid.uuid5(uuid.UUID(pool_id), "ceph"))


def _remove(pool: CephPool, image: str, volume_id: str) -> None:
    """Remove an image; none is success. Raises DriverError "volume-busy"."""
    if not pool.remove(image):
        raise DriverError(DriverFault.VOLUME_BUSY, f"something still has the disk of volume {volume_id} open")


def _escaped(text: str) -> str:
    """Return a text as a part of the name that QEMU has for an image."""
    return re.sub(r"([:@=\\])", r"\\\1", text)
