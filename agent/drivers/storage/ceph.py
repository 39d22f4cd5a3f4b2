"""A pool of a Ceph cluster, asked with a deadline: the one place that knows Ceph's library for Python.

Why each use connects anew: a connection that lasts would hold what the cluster's configuration and the user's key were
when it was made, and one whose cluster went away cannot be ended while another thread waits in it. It takes some tens
of milliseconds.

Why the library is looked for where the system has it: it is built with the system's librados for the system's Python,
and is in no package index, so an environment of the project's own cannot have it.
"""

import errno
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any

from domain.jobs.pool import PoolPlace, PoolSight
from infra.process.error_text import text_of

SYSTEM = "/usr/lib/python3/dist-packages"
"""Directory in which Debian and Ubuntu have what is built for the system's Python."""
MARK = ".gostack-pool"
"""Name of the object that has the pool's id."""
LONGEST_MARK = 256
SECONDS = 10
"""Time for each answer of a monitor or an OSD, where a volume is worked on."""
DENIED = {errno.EACCES, errno.EPERM}
QUIET = {"log_to_stderr": "false", "err_to_stderr": "false", "log_file": "", "admin_socket": ""}
"""Settings under which the library writes nothing besides its answers, whatever the host's configuration says."""


class CephFault(Exception):
    """The pool cannot be used: `sight` says how the host finds it, the text why, for operators."""

    def __init__(self, sight: PoolSight, why: str) -> None:
        super().__init__(why)
        self.sight = sight


class CephPool:
    """A pool of a Ceph cluster, for as long as it is opened. Methods raise CephFault where the cluster fails."""

    def __init__(self, cluster: Any, pool: Any, name: str) -> None:
        self._cluster = cluster
        self._pool = pool
        self._name = name

    def mark(self) -> str:
        """Return the id of the pool of GoStack that it is; empty where it is none's yet."""
        try:
            return str(self._pool.read(MARK, LONGEST_MARK).decode(errors="replace")).strip()
        except _library("rados").ObjectNotFound:
            return ""

    def found(self, ident: str) -> None:
        """Write the id, unless there is one."""
        rados = _library("rados")
        with rados.WriteOpCtx() as writing:
            writing.new(rados.LIBRADOS_CREATE_EXCLUSIVE)
            writing.write_full(ident.encode())
            try:
                self._pool.operate_write_op(writing, MARK)
            except rados.ObjectExists:
                return

    def space(self) -> tuple[int, int]:
        """Return how many bytes the pool can hold, and how many more it can take: without copies, within its quota."""
        status, answer, said = self._cluster.mon_command(
            json.dumps({"prefix": "df", "detail": "detail", "format": "json"}), b""
        )
        if status:
            raise _fault(OSError(-status, said))
        stats = {each["name"]: each["stats"] for each in json.loads(answer)["pools"]}.get(self._name)
        if stats is None:
            raise CephFault(PoolSight.NO_ANSWER, f"the cluster has no figures of pool {self._name} yet")
        stored, available = int(stats["stored"]), int(stats["max_avail"])
        if quota := int(stats.get("quota_bytes", 0)):
            available = max(0, min(available, quota - stored))
        return stored + available, available

    def create(self, image: str, size: int) -> bool:
        """Make an empty image; False where there is one of this name already."""
        rbd = _library("rbd")
        try:
            rbd.RBD().create(self._pool, image, size, old_format=False)
        except rbd.ImageExists:
            return False
        return True

    def size(self, image: str) -> int | None:
        """Return the size of an image in bytes; None where there is none."""
        rbd = _library("rbd")
        try:
            with rbd.Image(self._pool, image, read_only=True) as found:
                return int(found.size())
        except rbd.ImageNotFound:
            return None

    def resize(self, image: str, size: int) -> None:
        """Make an image larger; one that is as large, or larger, stays."""
        with _library("rbd").Image(self._pool, image) as found:
            if found.size() < size:
                found.resize(size, allow_shrink=False)

    def remove(self, image: str) -> bool:
        """Remove an image, also one that is there in part, or is not there; False where somebody has it open."""
        rbd = _library("rbd")
        try:
            rbd.RBD().remove(self._pool, image)
        except rbd.ImageBusy:
            return False
        except rbd.ImageNotFound:
            pass
        return True

    def rename(self, image: str, name: str) -> None:
        """Give an image another name."""
        _library("rbd").RBD().rename(self._pool, image, name)

    def images(self) -> list[str]:
        """Return the names of all images."""
        return sorted(_library("rbd").RBD().list(self._pool))


def keyring_of(place: PoolPlace) -> Path:
    """Return the file with the key of the pool's user: beside the configuration, named as Ceph names it."""
    conf = Path(place.ceph_conf)
    return conf.with_name(f"{conf.stem}.client.{place.ceph_user}.keyring")


@contextmanager
def opened(place: PoolPlace, seconds: int) -> Iterator[CephPool]:
    """Connect to the pool's cluster, and open its pool there. Raises CephFault.

    `seconds`: time for each answer of a monitor or an OSD.
    """
    keyring = keyring_of(place)
    for file in (Path(place.ceph_conf), keyring):
        if not file.is_file():
            raise CephFault(PoolSight.NOT_EQUIPPED, f"{file} is not there")
    rados, rbd = _library("rados"), _library("rbd")
    bounds = dict.fromkeys(("client_mount_timeout", "rados_mon_op_timeout", "rados_osd_op_timeout"), str(seconds))
    try:
        settings = {**QUIET, **bounds, "keyring": str(keyring)}
        with rados.Rados(conffile=place.ceph_conf, rados_id=place.ceph_user, conf=settings) as cluster:
            try:
                pool = cluster.open_ioctx(place.ceph_pool)
            except rados.ObjectNotFound as problem:
                raise CephFault(PoolSight.NOT_THERE, f"there is no pool {place.ceph_pool}") from problem
            try:
                yield CephPool(cluster, pool, place.ceph_pool)
            finally:
                pool.close()
    except (rados.Error, rbd.Error) as problem:
        raise _fault(problem) from problem


def _fault(problem: Exception) -> CephFault:
    """Make the fault of what the library raised. Whatever is no clear refusal counts as no answer: it may pass."""
    denied = abs(getattr(problem, "errno", None) or 0) in DENIED
    return CephFault(PoolSight.DENIED if denied else PoolSight.NO_ANSWER, text_of(problem))


@cache
def _library(name: str) -> Any:
    """Return a module of Ceph's library. Raises CephFault where this Python has none."""
    if name in sys.modules:
        return sys.modules[name]
    if name == "rbd":
        # It asks for the other by name.
        _library("rados")
    specs = (PathFinder.find_spec(name, path) for path in ([SYSTEM], None))
    # A directory that has this name by chance is a package, too, without a place of its own.
    found = next((each for each in specs if each is not None and each.has_location), None)
    if found is None or found.loader is None:
        version = ".".join(map(str, sys.version_info[:2]))
        raise CephFault(PoolSight.NOT_EQUIPPED, f"python3-{name} is not installed for Python {version}")
    module = module_from_spec(found)
    sys.modules[name] = module
    try:
        found.loader.exec_module(module)
    except ImportError as problem:
        del sys.modules[name]
        raise CephFault(PoolSight.NOT_EQUIPPED, f"python3-{name} cannot be loaded: {text_of(problem)}") from problem
    return module
