"""The life of an image: queued, uploading, verifying, and active or failed."""

import json
from datetime import timedelta
from typing import Any

import pytest

from domain.core.errors import ImageProtected, Invalid, NotFound, WrongStatus
from domain.core.messages import Command
from domain.image import (
    ActivateImage,
    BeginImageUpload,
    CreateImage,
    DeleteImage,
    FailImage,
    Image,
    ImageActivated,
    ImageFailed,
    ImageStatus,
    ImageUpdated,
    ImageUploadBegun,
    ImageUploaded,
    UpdateImage,
    VerifyImage,
)
from domain.instance.actions.lifecycle.boot import BootInstance
from tests.harness.samples import FLAVOR, IMAGE, sample
from tests.harness.spec import ID, START, Spec, given

QUEUED = CreateImage(name="tiny")
BYTES: dict[str, Any] = {"checksum": "ab" * 32, "format": "qcow2", "size": 5, "virtual_size": 7}
ACTIVATE, VERIFY, FAIL = ActivateImage(**BYTES), VerifyImage(size=5), FailImage(failure="it is html")
STORIES: dict[ImageStatus, tuple[Command, ...]] = {
    ImageStatus.QUEUED: (),
    ImageStatus.UPLOADING: (BeginImageUpload(),),
    ImageStatus.VERIFYING: (BeginImageUpload(), VERIFY),
    ImageStatus.ACTIVE: (BeginImageUpload(), VERIFY, ACTIVATE),
    ImageStatus.FAILED: (BeginImageUpload(), FAIL),
}
LEADS: dict[tuple[ImageStatus, type[Command]], ImageStatus] = {
    (ImageStatus.QUEUED, BeginImageUpload): ImageStatus.UPLOADING,
    (ImageStatus.FAILED, BeginImageUpload): ImageStatus.UPLOADING,
    (ImageStatus.UPLOADING, VerifyImage): ImageStatus.VERIFYING,
    (ImageStatus.VERIFYING, ActivateImage): ImageStatus.ACTIVE,
    (ImageStatus.QUEUED, FailImage): ImageStatus.FAILED,
    (ImageStatus.UPLOADING, FailImage): ImageStatus.FAILED,
    (ImageStatus.VERIFYING, FailImage): ImageStatus.FAILED,
}
"""Status and command -> the status that it leads to."""
NOTHING_NEW = {
    (ImageStatus.UPLOADING, BeginImageUpload),
    (ImageStatus.VERIFYING, VerifyImage),
    (ImageStatus.ACTIVE, ActivateImage),
    (ImageStatus.ACTIVE, FailImage),
    (ImageStatus.FAILED, FailImage),
}
"""What was said before, or comes too late."""


def image(status: ImageStatus = ImageStatus.QUEUED, **fields: Any) -> Spec:
    return given(QUEUED.but(**fields), *STORIES[status], kind="image")


@pytest.mark.parametrize("command", [BeginImageUpload(), VERIFY, ACTIVATE, FAIL], ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("status", ImageStatus)
def test_every_command_in_every_status(status: ImageStatus, command: Command) -> None:
    story = image(status)
    assert story.state.status is status
    if (leads := LEADS.get((status, type(command)))) is not None:
        assert story.when(command).state.status is leads
    elif (status, type(command)) in NOTHING_NEW:
        story.when(command).then()
    else:
        story.when(command).refused(WrongStatus)


def test_what_is_known_of_an_image_comes_with_its_status() -> None:
    at = [START + timedelta(seconds=number) for number in range(1, 6)]
    story = image().when(BeginImageUpload()).then(ImageUploadBegun(at=at[1]))
    story = story.when(VERIFY).then(ImageUploaded(size=5, at=at[2]))
    assert (story.state.size, story.state.checksum, story.state.format) == (5, "", "")
    story = story.when(ACTIVATE).then(ImageActivated(at=at[3], **BYTES))
    assert story.state.model_dump(include=set(BYTES)) == BYTES
    assert story.state.updated == at[3]


def test_a_failed_image_says_why_until_it_is_uploaded_again() -> None:
    failed = image(ImageStatus.UPLOADING).when(FAIL).then(ImageFailed)
    assert failed.state.failure == "it is html"
    assert failed.when(BeginImageUpload()).state.failure == ""


@pytest.mark.parametrize("command", [BeginImageUpload(), VERIFY, ACTIVATE, FAIL])
def test_nothing_comes_of_an_image_that_is_deleted(command: Command) -> None:
    given(QUEUED, DeleteImage(), kind="image").when(command).refused(NotFound)


def test_bytes_that_are_in_the_store_already_make_an_active_image() -> None:
    assert given(CreateImage(name="tiny", **BYTES), kind="image").state.status is ImageStatus.ACTIVE


def test_a_protected_image_is_not_deleted_until_it_is_no_more() -> None:
    story = image(protected=True)
    story.when(DeleteImage()).refused(ImageProtected)
    assert story.when(UpdateImage(protected=False)).when(DeleteImage()).state.deleted is not None


@pytest.mark.parametrize(
    ("given_name", "name"), [("amd64", "x86_64"), ("ARM64", "aarch64"), ("x86_64", "x86_64"), ("i386", "i686")]
)
def test_an_architecture_has_the_name_that_hosts_have(given_name: str, name: str) -> None:
    assert image(arch=given_name).state.arch == name
    assert image(arch="riscv64").when(UpdateImage(arch=given_name)).state.arch == name


@pytest.mark.parametrize(
    "wrong",
    [
        {"arch": "vax"},
        {"properties": {"hw_disk_bus": "ide"}},
        {"properties": {"hw_disk_bus": ""}},
        {"properties": {"architecture": "x86_64"}},
        {"properties": {"os_distro": "x" * 65}},
    ],
)
def test_a_value_that_nothing_could_follow_from_is_refused(wrong: dict[str, Any]) -> None:
    given(kind="image").when(QUEUED.but(**wrong)).refused(Invalid)


def test_properties_are_changed_one_by_one() -> None:
    story = image(properties={"os_type": "linux", "hw_disk_bus": "scsi"})
    changed = story.when(UpdateImage(properties={"hw_disk_bus": "", "os_distro": "debian"})).then(ImageUpdated)
    assert changed.state.properties == {"os_type": "linux", "os_distro": "debian"}
    changed.when(UpdateImage(properties={"os_distro": "debian"})).then()
    changed.when(UpdateImage(properties={"hw_disk_bus": "ide"})).refused(Invalid)


def test_an_instance_has_what_its_image_needs_or_is_refused() -> None:
    small = FLAVOR.but(memory=1 << 28)
    boot = sample(BootInstance, flavor=small)
    given(kind="instance").when(boot.but(image=IMAGE.but(min_ram=(1 << 28) + 1))).refused(Invalid)
    given(kind="instance").when(boot.but(image=IMAGE.but(min_disk=boot.disk + 1))).refused(Invalid)
    assert given(kind="instance").when(boot.but(image=IMAGE.but(min_ram=1 << 28, min_disk=boot.disk))).state.id == ID


def test_an_image_that_an_earlier_release_stored_is_everybodys_and_a_new_one_its_projects() -> None:
    new = given(kind="image").when(sample(CreateImage, name="tiny")).state
    stored = json.loads(new.model_dump_json(exclude_defaults=True))
    assert Image.model_validate(stored) == new
    assert new.visibility == "private"
    del stored["visibility"]
    assert Image.model_validate(stored).visibility == "public"
