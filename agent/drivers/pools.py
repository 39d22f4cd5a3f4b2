"""The pools that a host reaches: directories that are shared with other hosts, each with the pool's id in it.

Why looked at before every use: where a file system is not mounted, its directory is there all the same, and what would
be written into it lies on the host's own disk, where no other host finds it.
"""

import os
import threading
from collections.abc import Iterable
from pathlib import Path

import orjson

from agent.drivers import whole_file
from agent.drivers.driver import DriverError, DriverFault
from domain.jobs.pool import PoolOnHost, PoolPlace, PoolSight

MARK = ".gostack-pool"
"""Name of the file that has the pool's id."""
LOOK_SECONDS = 5.0
"""Time that a look at a pool may take; a look that hangs is the only one until it ends."""


class Pools:
    """The pools that the operator has made, as one host finds them. Every method blocks."""

    def __init__(self, file: Path, host_id: str) -> None:
        """`file`: keeps the known pools, for an agent that starts while the API is away; `host_id`: this host's."""
        self._file = file
        self._host_id = host_id
        self._places = {each.id: each for each in _kept(file)}
        self._looks: dict[str, threading.Thread] = {}
        self._found: dict[str, PoolOnHost] = {}

    def know(self, places: Iterable[PoolPlace]) -> list[PoolOnHost]:
        """Take over the pools that there are, and return what the host finds of each. Raises OSError."""
        known = {each.id: each for each in places}
        if known != self._places:
            whole_file.put(self._file, orjson.dumps([each.model_dump() for each in known.values()]).decode())
            self._places = known
        for place in known.values():
            running = self._looks.get(place.id)
            if running is None or not running.is_alive():
                # A file system whose server is gone keeps a thread for ever: it is the only one, and holds up no exit.
                self._looks[place.id] = threading.Thread(target=self._look, args=(place,), daemon=True)
                self._looks[place.id].start()
        deadline = LOOK_SECONDS
        for place in known.values():
            self._looks[place.id].join(deadline)
            if self._looks[place.id].is_alive():
                self._found[place.id] = PoolOnHost(id=place.id, sight=PoolSight.NO_ANSWER)
                deadline = 0.0
        return [self._found[ident] for ident in known]

    def directory(self, pool_id: str) -> Path:
        """Return the pool's directory. Raises DriverError "pool-not-reached"."""
        place = self._places.get(pool_id)
        if place is None:
            raise DriverError(DriverFault.POOL_NOT_REACHED, f"this host knows no pool {pool_id}")
        sight = _sight(place)
        if sight is not PoolSight.REACHED:
            raise DriverError(
                DriverFault.POOL_NOT_REACHED, f"this host does not reach pool {place.name}: {sight}", place.path
            )
        return Path(place.path)

    def volume(self, pool_id: str, volume_id: str) -> Path:
        """Return the file of a volume. Raises DriverError "pool-not-reached"."""
        return self.directory(pool_id) / "volumes" / f"{volume_id}.qcow2"

    def _look(self, place: PoolPlace) -> None:
        sight = _sight(place)
        if sight is PoolSight.NOT_MARKED and place.founder and place.founder == self._host_id:
            sight = _mark(place)
        if sight is not PoolSight.REACHED:
            self._found[place.id] = PoolOnHost(id=place.id, sight=sight)
            return
        try:
            size = os.statvfs(place.path)
        except OSError:
            self._found[place.id] = PoolOnHost(id=place.id, sight=PoolSight.NO_ANSWER)
            return
        self._found[place.id] = PoolOnHost(
            id=place.id,
            sight=sight,
            capacity=size.f_blocks * size.f_frsize,
            available=size.f_bavail * size.f_frsize,
        )


def _sight(place: PoolPlace) -> PoolSight:
    """Return what the host finds where the pool should be."""
    try:
        marked = (Path(place.path) / MARK).read_text().strip()
    except (FileNotFoundError, NotADirectoryError):
        return PoolSight.NOT_MARKED if Path(place.path).is_dir() else PoolSight.NOT_THERE
    except (OSError, UnicodeDecodeError):
        return PoolSight.NO_ANSWER
    return PoolSight.REACHED if marked == place.id else PoolSight.OF_ANOTHER


def _mark(place: PoolPlace) -> PoolSight:
    """Write the pool's id into its directory, and make the directory for volumes; return what is there then."""
    volumes = Path(place.path) / "volumes"
    try:
        volumes.mkdir(mode=0o711, exist_ok=True)
        volumes.chmod(0o711)
        # Whoever comes first; there is one founder, but a directory may be two pools' by mistake.
        _put_new(Path(place.path) / MARK, place.id)
    except FileExistsError:
        return _sight(place)
    except OSError:
        return PoolSight.NOT_MARKED
    return PoolSight.REACHED


def _put_new(path: Path, text: str) -> None:
    """Put a file there whole, where none is. Raises FileExistsError, OSError."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with fresh.open("w") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def _kept(file: Path) -> list[PoolPlace]:
    try:
        return [PoolPlace.model_validate(each) for each in orjson.loads(file.read_bytes())]
    except FileNotFoundError:
        return []
