import asyncio
import hashlib
import os
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from agent.drivers.driver import DriverError
from agent.drivers.libvirt import root_disk
from agent.drivers.libvirt.image_cache import ImageCache
from infra.disks.qcow2 import read_header
from tests.agent.samples import MEBI, an_image, in_store

TOKEN = "t0ken"


class Store(ThreadingHTTPServer):
    """A store behind HTTP that counts what was asked of it."""

    daemon_threads = True

    def __init__(self, directory: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.directory = directory
        self.asked = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/images"


class Answer(BaseHTTPRequestHandler):
    server: Store

    def do_GET(self) -> None:
        self.server.asked += 1
        path = self.server.directory / self.path.rpartition("/")[2]
        allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        self.send_response(200 if allowed and path.exists() else 404 if allowed else 401)
        self.end_headers()
        if allowed and path.exists():
            self.wfile.write(path.read_bytes())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def store(tmp_path: Path) -> Path:
    directory = tmp_path / "store"
    directory.mkdir()
    return directory


@pytest.fixture
def http_store(store: Path) -> Iterator[Store]:
    server = Store(store)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join(5)
    server.server_close()


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


def cache(tmp_path: Path, store: str, executor: ThreadPoolExecutor, token: str = "") -> ImageCache:
    directory = tmp_path / "cache"
    directory.mkdir(exist_ok=True)
    return ImageCache(directory, store, token, executor)


def left(tmp_path: Path) -> list[str]:
    return [path.name for path in (tmp_path / "cache").iterdir()]


async def test_an_image_of_a_directory_on_the_same_file_system_takes_no_room(
    tmp_path: Path, store: Path, executor: ThreadPoolExecutor
) -> None:
    image = an_image(store)
    (store / image.checksum).chmod(0o644)
    images = cache(tmp_path, str(store), executor)
    await images.have(image)
    assert images.path(image).samefile(store / image.checksum)
    assert left(tmp_path) == [image.checksum]


async def test_an_image_that_the_hypervisor_could_not_read_is_copied(
    tmp_path: Path, store: Path, executor: ThreadPoolExecutor
) -> None:
    image = an_image(store)
    (store / image.checksum).chmod(0o600)
    images = cache(tmp_path, str(store), executor)
    await images.have(image)
    assert images.path(image).stat().st_mode & 0o777 == 0o644
    assert (store / image.checksum).stat().st_mode & 0o777 == 0o600


async def test_who_asks_while_an_image_is_on_its_way_waits_for_the_same_copy(
    tmp_path: Path, http_store: Store, executor: ThreadPoolExecutor
) -> None:
    image = an_image(http_store.directory)
    images = cache(tmp_path, http_store.url, executor, TOKEN)
    await asyncio.gather(*(images.have(image) for _ in range(5)))
    await images.have(image)
    assert http_store.asked == 1
    assert hashlib.sha256(images.path(image).read_bytes()).hexdigest() == image.checksum


async def test_one_that_gives_up_does_not_take_the_copy_from_the_others(
    tmp_path: Path, http_store: Store, executor: ThreadPoolExecutor
) -> None:
    image = an_image(http_store.directory)
    images = cache(tmp_path, http_store.url, executor, TOKEN)
    first, second = asyncio.create_task(images.have(image)), asyncio.create_task(images.have(image))
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert images.path(image).exists()


async def test_a_wrong_token_is_said(tmp_path: Path, http_store: Store, executor: ThreadPoolExecutor) -> None:
    image = an_image(http_store.directory)
    with pytest.raises(DriverError, match="could not be fetched") as caught:
        await cache(tmp_path, http_store.url, executor, "other").have(image)
    assert caught.value.code == "image-unavailable"
    assert "401" in caught.value.inside
    assert left(tmp_path) == []


@pytest.mark.parametrize("mode", [0o644, 0o600], ids=["linked", "copied"])
async def test_bytes_that_are_not_the_image_are_not_kept(
    tmp_path: Path, store: Path, executor: ThreadPoolExecutor, mode: int
) -> None:
    image = an_image(store)
    (store / image.checksum).write_bytes(b"something else")
    (store / image.checksum).chmod(mode)
    with pytest.raises(DriverError) as caught:
        await cache(tmp_path, str(store), executor).have(image)
    assert caught.value.code == "checksum-mismatch"
    assert left(tmp_path) == []
    assert (store / image.checksum).read_bytes() == b"something else"


async def test_an_empty_file_in_the_store_is_left_alone(
    tmp_path: Path, store: Path, executor: ThreadPoolExecutor
) -> None:
    (store / hashlib.sha256(b"").hexdigest()).touch()
    empty = an_image(store).but(checksum=hashlib.sha256(b"").hexdigest())
    with pytest.raises(DriverError) as caught:
        await cache(tmp_path, str(store), executor).have(empty)
    assert caught.value.code == "image-unsafe"


@pytest.mark.parametrize("checksum", ["../../etc/passwd", "", "ab", "AB" * 32])
async def test_what_is_no_checksum_never_becomes_a_path(
    tmp_path: Path, store: Path, executor: ThreadPoolExecutor, checksum: str
) -> None:
    image = an_image(store).but(checksum=checksum)
    with pytest.raises(DriverError) as caught:
        await cache(tmp_path, str(store), executor).have(image)
    assert caught.value.code == "image-unavailable"


@pytest.mark.parametrize(
    "options",
    [
        ("-u", "-F", "raw", "-b", "/etc/shadow"),
        ("-o", "data_file=data.raw,data_file_raw=on"),
    ],
    ids=["backing file", "data file"],
)
async def test_an_image_that_points_at_a_file_of_the_host_is_refused(
    tmp_path: Path, store: Path, executor: ThreadPoolExecutor, options: tuple[str, ...]
) -> None:
    bad = tmp_path / "bad.qcow2"
    command = ["qemu-img", "create", "-q", "-f", "qcow2", *options, str(bad), "1M"]
    await asyncio.to_thread(subprocess.run, command, check=True, cwd=tmp_path)
    with pytest.raises(DriverError, match="refers to another file") as caught:
        await cache(tmp_path, str(store), executor).have(in_store(store, bad))
    assert caught.value.code == "image-unsafe"
    assert left(tmp_path) == []


async def test_a_qcow2_image_that_is_said_to_be_raw_is_refused(
    tmp_path: Path, store: Path, executor: ThreadPoolExecutor
) -> None:
    with pytest.raises(DriverError, match="said to be raw, and it is qcow2") as caught:
        await cache(tmp_path, str(store), executor).have(an_image(store).but(format="raw"))
    assert caught.value.code == "image-unsafe"
    assert left(tmp_path) == []


async def test_what_an_interrupted_copy_left_is_removed(
    tmp_path: Path, store: Path, executor: ThreadPoolExecutor
) -> None:
    images = cache(tmp_path, str(store), executor)
    (tmp_path / "cache" / "x.part").touch()
    images.clean()
    assert left(tmp_path) == []


def test_a_header_is_read_as_qemu_wrote_it(tmp_path: Path, store: Path) -> None:
    image = an_image(store, 3 * MEBI)
    header = read_header(store / image.checksum)
    assert header is not None
    assert (header.virtual_size, header.points_elsewhere) == (3 * MEBI, False)
    raw = tmp_path / "raw"
    raw.write_bytes(os.urandom(4096))
    assert read_header(raw) is None


def test_a_disk_is_as_large_as_its_image_at_least(tmp_path: Path, store: Path) -> None:
    image = an_image(store, 4 * MEBI)
    cached, disk = store / image.checksum, tmp_path / "disk.qcow2"
    with pytest.raises(DriverError, match="disk has") as caught:
        root_disk.create(disk, image, cached, MEBI)
    assert caught.value.code == "disk-too-small"
    root_disk.create(disk, image, cached, 0)
    header = read_header(disk)
    assert header is not None
    assert (header.virtual_size, header.points_elsewhere) == (4 * MEBI, True)


def test_a_disk_that_is_there_keeps_its_data(tmp_path: Path, store: Path) -> None:
    image = an_image(store)
    disk = tmp_path / "disk.qcow2"
    root_disk.create(disk, image, store / image.checksum, 0)
    made = disk.stat()
    root_disk.create(disk, image, store / image.checksum, 0)
    assert (disk.stat().st_ino, disk.stat().st_mtime_ns) == (made.st_ino, made.st_mtime_ns)
