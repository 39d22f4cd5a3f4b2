"""Bytes that nothing refers to go, from the store and from hosts' caches, and no others."""

import asyncio
import hashlib
import os
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.compose import drop_unused_images
from agent.drivers.simulated.driver import SimulatedDriver
from api.hosts.agent_api import create_internal_app
from api.serve import NotReady, collect_images
from api.writes.image_garbage import Unused
from domain.guest_spec import ImageRef
from infra.process.http_server import embedded_server
from tests.agent.samples import a_guest
from tests.api.api import TOKEN, Api, serving

CONTENTS = {name: name.encode() + bytes(1000) for name in ("kept", "deleted", "tiny", "orphan")}
CHECKSUMS = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENTS.items()}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """An image that is there, one that is deleted, one that is deleted and has an instance, and bytes of none."""
    async with serving(tmp_path) as made:
        await made.world.host("h1")
        await made.post("/flavors", {"name": "small", "core": 1, "memory": 512 << 20})
        await made.post("/networks", {"name": "lan", "cidr": "10.0.0.0/24"})
        for name in ("kept", "deleted", "tiny"):
            await made.image(name, CONTENTS[name])
        await made.booted()
        for name in ("deleted", "tiny"):
            await made.delete(f"/images/{name}")
        (made.store / CHECKSUMS["orphan"]).write_bytes(CONTENTS["orphan"])
        # A day ago, by the clock of the log.
        made.world.now += timedelta(days=2)
        yield made


def named(found: list[Unused], *, goes: bool) -> set[str]:
    names = {checksum: name for name, checksum in CHECKSUMS.items()}
    return {names[each.checksum] for each in found if each.goes == goes}


def names(api: Api) -> set[str]:
    stored = api.stored()
    return {name for name, checksum in CHECKSUMS.items() if checksum in stored}


def age(api: Api) -> None:
    """Have all files of the store, and what is noted of them, be two days old."""
    for path in (*api.store.glob("*"), *api.store.glob("unused/*")):
        told = path.stat()
        os.utime(path, (told.st_atime - 2 * 86400, told.st_mtime - 2 * 86400))


async def test_bytes_go_once_nothing_referred_to_them_for_a_day(api: Api) -> None:
    found = await collect_images(api.services, dry_run=True)
    assert named(found, goes=False) == {"deleted", "orphan"}
    assert not (api.store / "unused").exists()
    # Marked, and not old enough.
    for _ in range(2):
        assert named(await collect_images(api.services), goes=True) == set()
    age(api)
    assert named(await collect_images(api.services, dry_run=True), goes=True) == {"deleted", "orphan"}
    assert names(api) == set(CHECKSUMS)
    assert named(await collect_images(api.services), goes=True) == {"deleted", "orphan"}
    assert names(api) == {"kept", "tiny"}


async def test_bytes_that_are_used_again_are_marked_no_more(api: Api) -> None:
    await collect_images(api.services)
    assert {each.name for each in (api.store / "unused").iterdir()} == {CHECKSUMS["deleted"], CHECKSUMS["orphan"]}
    await api.image("again", CONTENTS["deleted"])
    age(api)
    assert named(await collect_images(api.services), goes=True) == {"orphan"}
    assert names(api) == {"kept", "deleted", "tiny"}


async def test_bytes_go_a_day_after_the_last_instance_of_them(api: Api) -> None:
    task = await api.delete("/instances/web?hard=true", 202)
    await api.ended(task["task_id"])
    assert "tiny" not in named(await collect_images(api.services), goes=False)
    api.world.now += timedelta(days=2)
    assert "tiny" in named(await collect_images(api.services), goes=False)


async def test_bytes_that_a_task_has_uploaded_are_kept_for_its_image(api: Api) -> None:
    note = api.store / "uploads" / "00000000-0000-0000-0000-000000000001.task"
    note.parent.mkdir(exist_ok=True)
    note.write_text(CHECKSUMS["orphan"])
    assert named(await collect_images(api.services), goes=False) == {"deleted"}


async def test_bytes_stay_while_a_volume_is_being_made_of_them(api: Api, session: aiohttp.ClientSession) -> None:
    """The image is deleted while its copy is under way; once that has ended nothing needs the bytes."""
    api.world.agents.silent.add("CopyToVolume")
    made = await api.post("/volumes", {"name": "root", "image": "kept"}, 202)
    await api.delete("/images/kept")
    api.world.now += timedelta(days=2)
    driver = await host("kept", "deleted")
    assert "kept" not in named(await collect_images(api.services), goes=False)
    assert await drop_unused_images(session, driver) == [CHECKSUMS["deleted"]]
    await api.world.answer_late()
    await api.ended(made["task_id"])
    assert "kept" in named(await collect_images(api.services), goes=False)
    assert await drop_unused_images(session, driver) == [CHECKSUMS["kept"]]


async def test_read_models_that_are_behind_tell_of_nothing(api: Api) -> None:
    await collect_images(api.services)
    age(api)
    api.services.settings.api = api.services.settings.api.model_copy(update={"ready_lag": 0})
    api.world.stopped.add("projector")
    await api.post("/images", {"name": "unseen"}, 201)
    with pytest.raises(NotReady, match="behind"):
        await collect_images(api.services)
    assert names(api) == set(CHECKSUMS)


@pytest.fixture
async def session(api: Api) -> AsyncIterator[aiohttp.ClientSession]:
    server = embedded_server(create_internal_app(api.services, TOKEN))
    listener = socket.create_server(("127.0.0.1", 0))
    running = asyncio.create_task(server.serve([listener]))
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with aiohttp.ClientSession(base, headers={"Authorization": f"Bearer {TOKEN}"}) as made:
        yield made
    server.should_exit = True
    await running


def ref(name: str) -> ImageRef:
    checksum = CHECKSUMS.get(name, hashlib.sha256(name.encode()).hexdigest())
    return ImageRef(id="i", name=name, checksum=checksum, format="raw", size=1, virtual_size=1)


async def host(*images: str) -> SimulatedDriver:
    driver = SimulatedDriver()
    for name in images:
        await driver.prepare_image(ref(name))
    return driver


async def test_a_host_that_was_away_drops_what_it_is_told_is_gone(api: Api, session: aiohttp.ClientSession) -> None:
    """Of an instance that was deleted meanwhile it has the disk yet: what that stands on stays as long."""
    driver = await host("kept", "deleted", "tiny", "unheard-of")
    guest = a_guest(ref("tiny"))
    await driver.create_disk(guest)
    assert await drop_unused_images(session, driver) == [CHECKSUMS["deleted"]]
    task = await api.delete("/instances/web?hard=true", 202)
    await api.ended(task["task_id"])
    api.world.now += timedelta(days=2)
    assert await drop_unused_images(session, driver) == []
    await driver.delete_disk(guest.id)
    assert await drop_unused_images(session, driver) == [CHECKSUMS["tiny"]]
    assert set(await driver.cached_images()) == {CHECKSUMS["kept"], ref("unheard-of").checksum}


async def test_a_host_drops_nothing_while_nobody_can_tell(
    api: Api, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = await host("deleted")
    api.services.settings.api = api.services.settings.api.model_copy(update={"ready_lag": 0})
    api.world.stopped.add("projector")
    await api.post("/images", {"name": "unseen"}, 201)
    with pytest.raises(aiohttp.ClientResponseError):
        await drop_unused_images(session, driver)
    assert await driver.cached_images() == [CHECKSUMS["deleted"]]


async def test_what_a_host_is_told_it_did_not_ask_for_is_not_dropped() -> None:
    driver = await host("kept", "deleted")

    class Answer:
        status = 200

        async def __aenter__(self) -> "Answer":
            return self

        async def __aexit__(self, *_: Any) -> None:
            pass

        def raise_for_status(self) -> None:
            pass

        async def json(self) -> dict[str, Any]:
            return {"gone": ["../../etc/passwd", "0" * 64]}

    class Session:
        def post(self, path: str, json: Any) -> Answer:
            return Answer()

    session: Any = Session()
    assert await drop_unused_images(session, driver) == []
    assert len(await driver.cached_images()) == 2
