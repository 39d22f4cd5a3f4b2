"""Pools as hosts find them: a directory that is the pool's, and one that only looks like it."""

import os
from pathlib import Path

import pytest

from agent.drivers import pools
from agent.drivers.driver import DriverError
from agent.drivers.pools import Pools
from agent.drivers.storage.files import MARK, FileVolumes
from agent.drivers.storage.store import VolumeStore
from domain.jobs.pool import PoolPlace, PoolSight

POOL = "0f1c1f0a-3c7e-4b8a-9d53-0a1b2c3d4e5f"
VOLUME = "7a2c1f0a-3c7e-4b8a-9d53-0a1b2c3d4e5f"


def host(tmp_path: Path, name: str) -> Pools:
    return Pools(tmp_path / f"{name}.json", name)


def sight(on: Pools, path: Path, founder: str = "", ident: str = POOL) -> PoolSight:
    (found,) = on.know([PoolPlace(id=ident, name="nfs", path=str(path), founder=founder)])
    assert (found.capacity > 0) == (found.sight is PoolSight.REACHED)
    return found.sight


async def file(on: Pools) -> Path:
    """The file of a volume, as the host finds it."""

    def find(store: VolumeStore) -> Path:
        assert isinstance(store, FileVolumes)
        return store.file(VOLUME)

    return await on.run(POOL, find)


async def test_only_its_founder_makes_a_directory_the_pools(tmp_path: Path) -> None:
    first, second, path = host(tmp_path, "h1"), host(tmp_path, "h2"), tmp_path / "shared"
    assert sight(first, path) is PoolSight.NOT_THERE
    path.mkdir()
    assert sight(first, path) is PoolSight.NOT_MARKED
    assert sight(second, path, founder="h1") is PoolSight.NOT_MARKED
    assert sight(first, path, founder="h1") is PoolSight.REACHED
    assert sight(second, path, founder="h1") is PoolSight.REACHED
    assert await file(first) == await file(second) == path / "volumes" / f"{VOLUME}.qcow2"
    assert sight(first, path, founder="h1", ident=VOLUME) is PoolSight.OF_ANOTHER
    assert sorted(each.name for each in path.iterdir()) == [MARK, "volumes"]


async def test_where_the_file_system_is_not_mounted_nothing_is_reached(tmp_path: Path) -> None:
    on, path = host(tmp_path, "h1"), tmp_path / "shared"
    path.mkdir()
    assert sight(on, path, founder="h1") is PoolSight.REACHED
    path.rename(tmp_path / "elsewhere")
    path.mkdir()
    with pytest.raises(DriverError) as caught:
        await file(on)
    assert caught.value.code == "pool-not-reached"
    assert "not-marked" in str(caught.value)


async def test_it_is_known_to_an_agent_that_starts_while_the_api_is_away(tmp_path: Path) -> None:
    path = tmp_path / "shared"
    path.mkdir()
    assert sight(host(tmp_path, "h1"), path, founder="h1") is PoolSight.REACHED
    again = host(tmp_path, "h1")
    assert await file(again) == path / "volumes" / f"{VOLUME}.qcow2"
    assert again.know([]) == []
    with pytest.raises(DriverError, match="knows no pool"):
        await file(again)


def test_storage_that_hangs_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "LOOK_SECONDS", 0.2)
    on, hung, sound = host(tmp_path, "h1"), tmp_path / "hung", tmp_path / "sound"
    hung.mkdir()
    sound.mkdir()
    # Whoever opens it waits for somebody who writes.
    os.mkfifo(hung / MARK)
    places = [
        PoolPlace(id=POOL, name="a", path=str(hung)),
        PoolPlace(id=VOLUME, name="b", path=str(sound), founder="h1"),
    ]
    for _ in range(3):
        assert [found.sight for found in on.know(places)] == [PoolSight.NO_ANSWER, PoolSight.REACHED]
    with (hung / MARK).open("w") as file:
        file.write(POOL)
    on._looks[POOL].join(5.0)
    (hung / MARK).unlink()
    (hung / MARK).write_text(POOL)
    assert [found.sight for found in on.know(places)] == [PoolSight.REACHED, PoolSight.REACHED]
