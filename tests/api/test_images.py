"""Images by way of the API: what is uploaded, in pieces, is verified before anything is made of it."""

import asyncio
import hashlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from api.writes import image_worker
from api.writes.image_worker import ImageWorker
from tests.api.api import GIB, MIB, RAW, Api, serving

needs_qemu = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not here")
DISK = os.urandom(1000) + bytes(MIB)


@pytest.fixture
async def empty(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path) as api:
        yield api


def made(tmp_path: Path, kind: str, *options: str, size: str = "1M", name: str = "made") -> bytes:
    file = tmp_path / name
    command = ["qemu-img", "create", "-q", "-f", kind, *options, str(file), size]
    subprocess.run(command, check=True, cwd=tmp_path)
    return file.read_bytes()


def converted(tmp_path: Path, kind: str, *options: str, content: bytes = DISK) -> bytes:
    source, file = tmp_path / "source", tmp_path / "converted"
    source.write_bytes(content + bytes(-len(content) % 512))
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", kind, *options, str(source), str(file)], check=True)
    return file.read_bytes()


def flipped(content: bytes, at: int, value: int) -> bytes:
    return content[:at] + value.to_bytes(8, "big") + content[at + 8 :]


def parts(api: Api) -> list[str]:
    return sorted(each.name for each in (api.store / "incoming").glob("*"))


async def test_an_image_is_queued_uploading_verifying_and_active(empty: Api) -> None:
    image = await empty.post("/images", {"name": "tiny", "checksum": hashlib.sha256(DISK).hexdigest()})
    assert (image["status"], image["format"], image["size"]) == ("queued", "", 0)
    half = await empty.piece(image["id"], DISK[:500], 0, len(DISK))
    assert half.json() == {"id": image["id"], "status": "uploading", "received": 500}
    assert (await empty.get("/images/tiny"))["status"] == "uploading"
    assert empty.stored() == {}
    rest = await empty.piece(image["id"], DISK[500:], 500, len(DISK))
    assert rest.json()["status"] == "verifying"
    image = await empty.verified(image["id"])
    checksum = hashlib.sha256(DISK).hexdigest()
    assert (image["status"], image["format"], image["checksum"]) == ("active", "raw", checksum)
    assert (image["size"], image["virtual_size"]) == (len(DISK), len(DISK))
    assert empty.stored() == {checksum: DISK}
    kinds = [each["type"] for each in (await empty.get("/images/tiny/history"))["events"]]
    assert [kind.split(".")[-2] for kind in kinds] == ["created", "upload-begun", "uploaded", "activated"]


async def test_a_piece_at_the_wrong_place_says_where_the_next_one_belongs(empty: Api) -> None:
    image = await empty.post("/images", {"name": "tiny"})
    await empty.piece(image["id"], DISK[:500], 0, len(DISK))
    for offset in (0, 499, 501):
        refused = await empty.piece(image["id"], DISK[offset:], offset, len(DISK))
        assert (refused.status_code, refused.json()["code"]) == (409, "wrong-offset")
        assert refused.json()["values"]["offset"] == "500"
    assert (await empty.get("/images/tiny/upload"))["received"] == 500


async def test_a_piece_with_more_than_was_said_is_refused(empty: Api) -> None:
    image = await empty.post("/images", {"name": "tiny"})
    assert (await empty.piece(image["id"], DISK[:501], 0, 500)).status_code == 413
    assert (await empty.piece(image["id"], b"", 0, 4 * MIB + 1)).status_code == 413
    assert (await empty.piece(image["id"], b"", 2, 1)).status_code == 422


async def test_two_uploads_of_one_image_do_not_mix(empty: Api) -> None:
    image = await empty.post("/images", {"name": "tiny"})
    ready, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield DISK[:500]
        ready.set()
        await go_on.wait()
        yield DISK[500:]

    staging = empty.services.images.staging
    first = asyncio.create_task(staging.append(image["id"], 0, len(DISK), slowly()))
    await ready.wait()
    second = await empty.piece(image["id"], DISK[500:], 500, len(DISK))
    assert (second.status_code, second.json()["code"]) == (409, "image-busy")
    go_on.set()
    assert await first == len(DISK)


async def test_bytes_with_another_checksum_are_no_image(empty: Api) -> None:
    image = await empty.uploaded("tiny", DISK, checksum="0" * 64)
    assert image["status"] == "failed"
    assert "SHA-256" in image["failure"]
    assert (empty.stored(), parts(empty)) == ({}, [])


async def test_a_failed_image_is_uploaded_again(empty: Api) -> None:
    checksum = hashlib.sha256(DISK).hexdigest()
    image = await empty.uploaded("tiny", b"other" + RAW, checksum=checksum)
    assert image["status"] == "failed"
    assert (await empty.piece(image["id"], DISK, 0, len(DISK))).status_code == 200
    async with asyncio.timeout(20):
        while (image := await empty.get("/images/tiny"))["status"] != "active":
            await empty.world.log.wait(0.005)
    assert (image["failure"], image["checksum"]) == ("", checksum)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<!DOCTYPE html><html>" + bytes(1000), "html"),
        (b"404: no such file\n" * 100, "text"),
        (b"\x1f\x8b\x08" + bytes(1000), "gzip"),
        (b"\xfd7zXZ\0" + bytes(1000), "xz"),
        (b"\x28\xb5\x2f\xfd" + bytes(1000), "zstd"),
        (b"QFI\xfb" + bytes(36), "not whole"),
        (b'# Disk DescriptorFile\nversion=1\nRW 20 FLAT "/etc/passwd" 0\n', "vmdk"),
        (bytes(0x8001) + b"CD001" + bytes(1000), "disk_format iso"),
    ],
    ids=["html", "text", "gzip", "xz", "zstd", "short qcow2", "vmdk descriptor", "iso"],
)
async def test_what_is_no_disk_is_refused_by_its_true_name(empty: Api, content: bytes, said: str) -> None:
    image = await empty.uploaded("bad", content)
    assert image["status"] == "failed"
    assert said in image["failure"]
    assert (empty.stored(), parts(empty)) == ({}, [])


async def test_an_iso_image_that_is_said_to_be_one_is_a_raw_disk(empty: Api) -> None:
    content = bytes(0x8001) + b"CD001" + bytes(1000)
    image = await empty.image("cd", content, disk_format="iso")
    assert (image["format"], image["virtual_size"]) == ("raw", len(content))


@needs_qemu
@pytest.mark.parametrize("kind", ["vmdk", "vdi", "vpc", "vhdx", "qed", "parallels"])
async def test_a_disk_of_another_format_is_refused_whatever_it_is_said_to_be(
    empty: Api, tmp_path: Path, kind: str
) -> None:
    content = converted(tmp_path, kind)[: 4 * MIB]
    for said in ("", "raw", "qcow2"):
        image = await empty.uploaded("bad", content, disk_format=said)
        assert image["status"] == "failed"
        assert {"vpc": "vhd"}.get(kind, kind) in image["failure"]
    assert empty.stored() == {}


@needs_qemu
async def test_a_qcow2_image_that_is_said_to_be_raw_is_refused(empty: Api, tmp_path: Path) -> None:
    image = await empty.uploaded("bad", made(tmp_path, "qcow2"), disk_format="raw")
    assert "it is said to be raw, and it is qcow2" in image["failure"]


@needs_qemu
async def test_qcow2_images_that_would_harm_are_refused(empty: Api, tmp_path: Path) -> None:
    good = made(tmp_path, "qcow2")
    whole = converted(tmp_path, "qcow2", content=os.urandom(MIB))
    bad = {
        "another file": made(tmp_path, "qcow2", "-u", "-F", "raw", "-b", "/etc/passwd"),
        "refers to another": made(tmp_path, "qcow2", "-o", "data_file=data.raw,data_file_raw=on"),
        "not known": flipped(good, 72, 1 << 6),
        "corrupt": flipped(good, 72, 2),
        "encrypted": good[:32] + b"\0\0\0\2" + good[36:],
        "and 1 to": flipped(good, 24, 1 << 60),
        "first table": flipped(good, 24, 1 << 43),
        "version": good[:7] + b"\x04" + good[8:],
        "clusters": good[:23] + b"\x3f" + good[24:],
        "table is not": good[: 190 << 10],
        "data is not": whole[: 600 << 10],
    }
    for said, content in bad.items():
        image = await empty.uploaded("bad", content)
        assert (image["status"], said in image["failure"]) == ("failed", True), (said, image["failure"])
    assert empty.stored() == {}


@needs_qemu
@pytest.mark.parametrize(
    "options",
    [
        ("-o", "compat=0.10"),
        ("-o", "cluster_size=512"),
        ("-o", "extended_l2=on"),
        ("-o", "preallocation=metadata"),
        ("-c",),
        ("-c", "-o", "compression_type=zstd,cluster_size=2M"),
    ],
    ids=str,
)
async def test_every_kind_of_qcow2_that_stands_alone_is_taken(
    empty: Api, tmp_path: Path, options: tuple[str, ...]
) -> None:
    empty.services.images.store.policy.max_size = 32 * MIB
    image = await empty.image("good", converted(tmp_path, "qcow2", *options))
    assert (image["format"], image["virtual_size"]) == ("qcow2", -(-len(DISK) // 512) * 512)


@needs_qemu
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("vmdk", ()),
        ("vmdk", ("-o", "subformat=streamOptimized")),
        ("vdi", ()),
        ("vhd", ()),
        ("vhd", ("-o", "subformat=fixed")),
        ("vhdx", ("-o", "block_size=1M,log_size=1M")),
    ],
    ids=str,
)
async def test_a_conversion_that_is_asked_for_makes_qcow2(
    empty: Api, tmp_path: Path, kind: str, options: tuple[str, ...]
) -> None:
    content = converted(tmp_path, {"vhd": "vpc"}.get(kind, kind), *options)
    checksum = hashlib.sha256(content).hexdigest()
    empty.services.images.store.policy.max_size = 16 * MIB
    image = await empty.image("foreign", content, convert_from=kind, checksum=checksum)
    assert image["format"] == "qcow2"
    result = empty.store / image["checksum"]
    assert list(empty.stored()) == [hashlib.sha256(result.read_bytes()).hexdigest()] == [image["checksum"]]
    back = tmp_path / "back"
    command = ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(result), str(back)]
    await asyncio.to_thread(subprocess.run, command, check=True)
    assert back.read_bytes().startswith(DISK)


@needs_qemu
async def test_what_a_conversion_must_not_read_is_refused(empty: Api, tmp_path: Path) -> None:
    flat = made(tmp_path, "vmdk", "-o", "subformat=monolithicFlat", name="flat.vmdk")
    sparse = made(tmp_path, "vmdk", name="sparse.vmdk")
    parent = sparse.replace(b"parentCID=ffffffff", b"parentCID=00000001")
    extent = sparse.replace(b'SPARSE "sparse.vmdk"', b'FLAT "/etc/passwd" 0'.ljust(20))
    hidden = sparse[:12] + bytes(8) + sparse[20:]
    vhd = bytearray(made(tmp_path, "vpc"))
    vhd[-512 + 63] = 4
    for kind, content in (
        ("vmdk", flat),
        ("vmdk", parent),
        ("vmdk", extent),
        ("vmdk", hidden),
        ("vhd", bytes(vhd)),
        ("vdi", sparse),
        ("vmdk", made(tmp_path, "qcow2")),
        ("vhdx", b"vhdxfile" + bytes(1000)),
    ):
        image = await empty.uploaded("bad", content, convert_from=kind)
        assert image["status"] == "failed", kind
    assert (empty.stored(), parts(empty)) == ({}, [])


@needs_qemu
async def test_a_conversion_has_limits(empty: Api, tmp_path: Path) -> None:
    content = converted(tmp_path, "vmdk", content=os.urandom(2 * MIB))
    empty.services.images.store.policy.max_size = len(content)
    large = await empty.uploaded("large", content, convert_from="vmdk")
    assert "cannot be converted" in large["failure"]
    huge = made(tmp_path, "vmdk", size="2G")
    empty.services.images.store.policy.max_size = len(huge)
    empty.services.images.store.policy.max_virtual_size = GIB
    assert "are allowed" in (await empty.uploaded("huge", huge, convert_from="vmdk"))["failure"]
    assert (empty.stored(), parts(empty)) == ({}, [])


async def test_an_upload_goes_on_in_another_process(empty: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first has left, complete and verified in part, the next one finds."""
    image = await empty.post("/images", {"name": "tiny"})
    images = empty.services.images
    verify = images.staging.verify

    async def dies(image: Any) -> Any:
        await verify(image)
        raise OSError("the process ended here")

    monkeypatch.setattr(images.staging, "verify", dies)
    await empty.piece(image["id"], DISK, 0, len(DISK))
    async with asyncio.timeout(20):
        while not empty.stored():
            await empty.world.log.wait(0.005)
    assert (await empty.get("/images/tiny"))["status"] == "verifying"
    monkeypatch.undo()
    world = empty.world
    other = ImageWorker(world.log, world.store, images.staging, images.fetcher, images.store.policy, world.clock)
    await other.look()
    assert (await empty.verified(image["id"]))["status"] == "active"


async def test_an_upload_that_stands_still_fails(empty: Api) -> None:
    empty.services.images.store.policy.upload_timeout = 0.001
    image = await empty.post("/images", {"name": "tiny"})
    assert "Nothing came of it" in (await empty.verified(image["id"]))["failure"]


async def test_an_image_that_cannot_be_verified_for_a_long_time_fails(
    empty: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the disk of the store is full, each time."""

    async def full(image: Any) -> Any:
        raise OSError("no space left on device")

    monkeypatch.setattr(empty.services.images.staging, "verify", full)
    monkeypatch.setattr(image_worker, "SETTLE_SECONDS", 0.01)
    image = await empty.post("/images", {"name": "tiny"})
    await empty.piece(image["id"], DISK, 0, len(DISK))
    assert (await empty.get("/images/tiny"))["status"] == "verifying"
    empty.world.now += timedelta(days=2)
    for path in (empty.store / "incoming").iterdir():
        os.utime(path, (0, 0))
    assert (await empty.verified(image["id"]))["status"] == "failed"


async def test_a_worker_that_is_cancelled_while_it_looks_ends_at_once(
    empty: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking = asyncio.Event()

    async def look() -> None:
        looking.set()
        await asyncio.Event().wait()

    worker = empty.services.images.worker
    monkeypatch.setattr(worker, "look", look)
    monkeypatch.setattr(image_worker, "LOOK_SECONDS", 60.0)
    worker.look_soon()
    running = asyncio.create_task(worker.run())
    await looking.wait()
    running.cancel()
    async with asyncio.timeout(5.0):
        await asyncio.gather(running, return_exceptions=True)


async def test_the_file_of_an_image_can_be_read_again(empty: Api) -> None:
    image = await empty.image("tiny", DISK)
    whole = await empty.http.get("/v1/images/tiny/file")
    assert (whole.status_code, whole.content, whole.headers["etag"]) == (200, DISK, f'"{image["checksum"]}"')
    part = await empty.http.get("/v1/images/tiny/file", headers={"Range": "bytes=1000-"})
    assert (part.status_code, part.content) == (206, DISK[1000:])
    await empty.post("/images", {"name": "none"})
    assert (await empty.get("/images/none/file", 409))["code"] == "image-not-ready"


async def test_an_active_image_takes_no_bytes(empty: Api) -> None:
    image = await empty.image("tiny", DISK)
    refused = await empty.piece(image["id"], DISK, 0, len(DISK))
    assert (refused.status_code, refused.json()["code"]) == (409, "wrong-status")


async def test_images(empty: Api) -> None:
    image = await empty.image("tiny")
    assert await empty.get("/images/tiny") == image
    same = await empty.image("tiny2", description="same bytes")
    assert (same["id"] != image["id"], same["checksum"]) == (True, image["checksum"])
    assert (await empty.post("/images", {"name": "x", "checksum": "../../etc"}, 422))["code"] == "invalid"
    assert [each["name"] for each in (await empty.get("/images", name="tiny"))["images"]] == ["tiny"]
    assert (await empty.delete("/images/tiny"))["deleted"]
    await empty.get("/images/tiny", 404)
    assert (await empty.delete(f"/images/{image['id']}", 404))["code"] == "not-found"


async def test_a_protected_image_is_not_deleted(empty: Api) -> None:
    await empty.image("tiny", protected=True)
    assert (await empty.delete("/images/tiny", 409))["code"] == "image-protected"
    await empty.patch("/images/tiny", {"protected": False})
    assert (await empty.delete("/images/tiny"))["deleted"]


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ({"properties": {"hw_disk_bus": "ide"}}, "properties.hw_disk_bus", "virtio, scsi, sata"),
        ({"properties": {"hw_disc_bus": "scsi"}}, "properties.hw_disc_bus", "known are"),
        ({"properties": {"min_disk": "1"}}, "properties.min_disk", "field of its own"),
        ({"properties": {"os_distro": "a\x1bb"}}, "properties.os_distro", "printable"),
        ({"arch": "vax"}, "arch", "one of"),
        ({"url": "file:///etc/passwd"}, "url", "http or https"),
        ({"url": "http://u:p@example.com/x"}, "url", "without"),
        ({"convert_from": "vmdk", "disk_format": "raw"}, "disk_format", "left out"),
    ],
)
async def test_a_wrong_field_is_named(empty: Api, body: dict[str, Any], field: str, said: str) -> None:
    refused = await empty.post("/images", {"name": "x", **body}, 422)
    assert (refused["values"]["field"], said in refused["detail"]) == (field, True), refused
    assert (await empty.get("/images"))["images"] == []


async def test_properties_are_set_and_removed_one_by_one(empty: Api) -> None:
    image = await empty.image("tiny", arch="amd64", properties={"os_type": "linux", "hw_disk_bus": "scsi"})
    assert image["arch"] == "x86_64"
    changed = await empty.patch("/images/tiny", {"properties": {"hw_disk_bus": "", "hw_vif_model": "e1000e"}})
    assert changed["properties"] == {"os_type": "linux", "hw_vif_model": "e1000e"}


async def test_an_instance_is_made_of_an_active_image_that_it_has_room_for(empty: Api) -> None:
    await empty.furnish()
    await empty.post("/images", {"name": "none"})
    assert (await empty.boot(image="none", status=409))["code"] == "image-not-ready"
    await empty.image("much", min_ram=513 * MIB)
    refused = await empty.boot(image="much", status=422)
    assert (refused["values"]["field"], "of memory" in refused["detail"]) == ("flavor", True)
    await empty.image("wide", min_disk=3 * GIB)
    assert (await empty.boot(image="wide", volume_size=2, status=422))["values"]["field"] == "volume_size"
    assert (await empty.booted(image="wide"))["disk"] == 3 * GIB
    web = await empty.booted(image="tiny", name="narrow")
    for image, field in (("much", "flavor"), ("wide", "image")):
        refused = await empty.post(f"/instances/{web['id']}/actions/rebuild", {"image": image}, 422)
        assert refused["values"]["field"] == field
    assert (await empty.get("/instances/narrow"))["status"] == "active"


async def test_an_image_becomes_usable_the_moment_that_it_is_active(empty: Api) -> None:
    await empty.furnish()
    image = await empty.post("/images", {"name": "late"})
    assert (await empty.boot(image="late", status=409))["code"] == "image-not-ready"
    await empty.piece(image["id"], DISK, 0, len(DISK))
    await empty.verified(image["id"])
    await empty.boot(image="late")


async def test_a_private_image_is_its_projects_and_a_public_one_everybodys(empty: Api) -> None:
    await empty.furnish()
    own = await empty.post("/images", {"name": "own"}, X_GoStack_Project="shop")
    assert (await empty.get("/images", fields="name"))["images"] == [{"name": "tiny"}]
    for ref in ("own", own["id"]):
        await empty.get(f"/images/{ref}", 404)
        await empty.boot(image=ref, status=404)
        await empty.delete(f"/images/{ref}", 404)
    await empty.patch("/images/own", {"visibility": "public"}, X_GoStack_Project="shop")
    assert (await empty.get(f"/images/{own['id']}"))["visibility"] == "public"
    assert {each["name"] for each in (await empty.get("/images"))["images"]} == {"own", "tiny"}
