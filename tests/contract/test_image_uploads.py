"""What a host puts into the image store for a task: in memory, and behind the API."""

import asyncio
import hashlib
import socket
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import pytest

from agent.drivers.driver import DiskContent, DriverError
from agent.outside.image_uploads import HttpImageUploads, ImageUploads, ImageUploadsInMemory
from api.hosts.agent_api import create_internal_app
from api.writes.image_store import ImageStore
from infra.process.http_server import embedded_server
from infra.process.settings import Images
from tests.api.api import Api, serving

TOKEN = "shared"
MOST = 1 << 20
DISK = bytes(range(256)) * 1000


@dataclass
class Subject:
    uploads: ImageUploads
    kept: Callable[[], list[bytes]]
    """Every file that the store has."""
    api: Api | None = None


@pytest.fixture(params=["memory", "http"])
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    if request.param == "memory":
        memory = ImageUploadsInMemory(MOST)
        yield Subject(memory, lambda: list(memory.kept.values()))
        return
    async with serving(tmp_path / "api") as api:
        store = tmp_path / "images"
        policy = Images.model_construct(**{**Images().model_dump(), "store": str(store), "max_size": MOST})
        images = replace(api.services.images, store=ImageStore(policy))
        services = replace(api.services, images=images)
        api.app.state.services = services
        server = embedded_server(create_internal_app(services, TOKEN))
        listener = socket.create_server(("127.0.0.1", 0))
        serving_it = asyncio.create_task(server.serve([listener]))
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with aiohttp.ClientSession(base, headers={"Authorization": f"Bearer {TOKEN}"}) as session:
            yield Subject(
                HttpImageUploads(session),
                lambda: [each.read_bytes() for each in store.rglob("*") if each.is_file() and each.suffix != ".task"],
                api,
            )
        server.should_exit = True
        await serving_it


def content(data: bytes, then: Exception | None = None, size: int = 0) -> DiskContent:
    async def chunks() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(data), 10_000):
            yield data[start : start + 10_000]
        if then is not None:
            raise then

    return DiskContent(size or len(data), chunks())


async def put(subject: Subject, task_id: str, disk: DiskContent) -> str:
    async with aclosing(disk.chunks):
        return (await subject.uploads.put(task_id, disk)).checksum


@pytest.mark.parametrize("times", [1, 2])
async def test_what_is_put_there_can_be_taken_out(subject: Subject, times: int) -> None:
    task = str(uuid.uuid4())
    for _ in range(times):
        assert await put(subject, task, content(DISK)) == hashlib.sha256(DISK).hexdigest()
    assert subject.kept() == [DISK]
    for _ in range(times):
        await subject.uploads.discard(task)
    assert subject.kept() == []


async def test_of_what_breaks_off_or_is_too_large_nothing_is_kept(subject: Subject) -> None:
    task = str(uuid.uuid4())
    with pytest.raises(DriverError) as caught:
        await put(subject, task, content(DISK, DriverError("guest-gone", "it broke"), len(DISK) + 1))
    assert caught.value.code == "guest-gone"
    with pytest.raises(DriverError) as caught:
        await put(subject, task, content(bytes(MOST + 1)))
    assert caught.value.code == "image-too-large"
    await subject.uploads.discard(task)
    for _ in range(500):
        # Whoever stores hears a little later that nothing more comes.
        if not subject.kept():
            break
        await asyncio.sleep(0.01)
    assert subject.kept() == []


async def test_the_same_bytes_of_two_tasks_are_there_until_both_are_taken_out(subject: Subject) -> None:
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    for task in (first, second):
        await put(subject, task, content(DISK))
    await subject.uploads.discard(first)
    assert subject.kept()[:1] == [DISK]
    await subject.uploads.discard(second)
    assert subject.kept() == []


async def test_bytes_that_an_image_names_stay(subject: Subject) -> None:
    if subject.api is None:
        pytest.skip("there are no images in memory")
    task = str(uuid.uuid4())
    await put(subject, task, content(DISK))
    image = await subject.api.image("named", DISK)
    await subject.uploads.discard(task)
    assert subject.kept() == [DISK]
    await subject.api.delete(f"/images/{image['id']}")
    await put(subject, task, content(DISK))
    await subject.uploads.discard(task)
    assert subject.kept() == [DISK], "instances may stand on it"
