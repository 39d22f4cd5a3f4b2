"""Images that are fetched from URLs: past the guard at each redirect, within limits, and begun again after a crash."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from api.writes import image_worker
from api.writes.image_fetch import FetchFailed, FetchRefused, ImageFetcher
from tests.api.api import MIB, Api, serving

DISK = bytes(MIB) + b"\1"
Answer = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    monkeypatch.setattr(image_worker, "PAUSE", 0.01)
    async with serving(tmp_path) as api:
        yield api


class Site:
    """A web server whose answers are bytes, by path; every path that was asked for is noted."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, bytes] = {}
        self.port = 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def on(self, path: str, status: str = "200 OK", body: bytes = b"", **headers: str) -> str:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {headers.pop('length', len(body))}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.answers[path] = "\r\n".join([*lines, "", ""]).encode() + body
        return self.url(path)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        self.asked.append(path)
        writer.write(self.answers.get(path, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))
        writer.close()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with running() as made:
        yield made


@asynccontextmanager
async def running() -> AsyncIterator[Site]:
    made = Site()
    server = await asyncio.start_server(made.answer, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made


async def test_an_image_is_fetched_from_where_a_redirect_leads(empty: Api, site: Site) -> None:
    site.on("/disk", body=DISK)
    url = site.on("/latest", "302 Found", Location="/disk")
    image = await empty.post("/images", {"name": "tiny", "url": url, "checksum": hashlib.sha256(DISK).hexdigest()})
    assert image["status"] == "queued"
    image = await empty.verified(image["id"])
    assert (image["status"], image["size"], image["url"]) == ("active", len(DISK), url)
    assert site.asked == ["/latest", "/disk"]
    assert list(empty.stored()) == [image["checksum"]]


async def test_an_image_with_a_url_takes_no_upload(empty: Api, site: Site) -> None:
    image = await empty.post("/images", {"name": "tiny", "url": site.url("/none")})
    assert (await empty.piece(image["id"], DISK, 0, len(DISK))).json()["code"] == "remote-image"


async def test_what_gives_no_image_fails_and_says_why(empty: Api, site: Site) -> None:
    empty.services.images.store.policy.max_size = MIB
    for url, said in (
        (site.url("/none"), "the server answers 404"),
        (site.on("/page", body=b"<html>welcome</html>"), "it is html"),
        (site.on("/large", body=DISK), "more bytes than an image may have"),
        (site.on("/circle", "302 Found", Location="/circle"), "redirects"),
        (site.on("/file", "302 Found", Location="file:///etc/passwd"), "http or https"),
        (site.on("/packed", body=b"x", **{"Content-Encoding": "gzip"}), "encoded"),
    ):
        image = await empty.post("/images", {"name": "bad", "url": url})
        assert said in (await empty.verified(image["id"]))["failure"]
    assert empty.stored() == {}
    assert not list((empty.store / "incoming").glob("*"))


async def test_what_breaks_off_is_tried_again_and_no_more_often_than_thrice(empty: Api, site: Site) -> None:
    url = site.on("/disk", body=DISK[:1000], length=str(len(DISK)))
    image = await empty.post("/images", {"name": "bad", "url": url})
    assert (await empty.verified(image["id"]))["status"] == "failed"
    assert site.asked == ["/disk"] * image_worker.ATTEMPTS


async def test_a_server_that_is_away_for_a_moment_is_asked_again(empty: Api, site: Site) -> None:
    url = site.on("/disk", "503 Service Unavailable")
    image = await empty.post("/images", {"name": "tiny", "url": url})
    while not site.asked:
        await empty.world.log.wait(0.005)
    site.on("/disk", body=DISK)
    assert (await empty.verified(image["id"]))["status"] == "active"


async def test_a_server_that_never_ends_is_given_up(empty: Api) -> None:
    empty.services.images.store.policy.fetch_timeout = 0.2

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        image = await empty.post("/images", {"name": "slow", "url": url})
        assert "took longer than 0.2 s" in (await empty.verified(image["id"]))["failure"]


async def fetched(fetcher: ImageFetcher, url: str) -> bytes:
    async with fetcher.fetch(url) as answer:
        return b"".join([chunk async for chunk in answer.chunks])


async def test_no_address_of_an_own_network_is_reached_not_by_a_redirect_either(site: Site) -> None:
    """The literal is refused before anything is asked; a name is, when its address is known."""
    fetcher = ImageFetcher(allow_private=False)
    for url in (site.url("/"), f"http://localhost:{site.port}/", f"http://0x7f000001:{site.port}/"):
        with pytest.raises((FetchRefused, FetchFailed)):
            await fetched(fetcher, url)
    assert site.asked == []
    await fetcher.close()
    async with running() as other:
        guarded = ImageFetcher(allow_private=True, own_ports=(other.port,))
        url = site.on("/there", "302 Found", Location=other.on("/secret", body=b"secret"))
        with pytest.raises(FetchRefused, match="GoStack's own"):
            await fetched(guarded, url)
        assert (site.asked, other.asked) == (["/there"], [])
        await guarded.close()
