"""What setup installs is all that the rest asks for."""

from pathlib import Path

import pytest

from infra.images.debian import TOOLS
from infra.images.disk import MBR_PACKAGE
from infra.local import kafka
from infra.local.setup import NEEDS

ON_EVERY_DEBIAN = {"apt", "dpkg"}


def test_setup_brings_every_tool_of_the_guest_image() -> None:
    brought = {package for need in NEEDS for package in need.packages}
    assert {*TOOLS.values(), MBR_PACKAGE} - ON_EVERY_DEBIAN <= brought


@pytest.mark.parametrize("another", [False, True])
def test_jars_that_two_processes_fetch_at_once_are_there_once(
    another: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / f"kafka-{kafka.version()}" / "lib"

    def fetch(words: list[str], **about: object) -> None:
        arrived = [Path(words[-1].removeprefix("-DoutputDirectory="))]
        for place in [*arrived, *([library] if another else [])]:
            place.mkdir()
            (place / "kafka.jar").write_text("jar")

    monkeypatch.setattr(kafka, "run", fetch)
    assert kafka.jars(tmp_path) == library
    assert [each.name for each in library.parent.iterdir()] == ["lib"]
    assert (library / "kafka.jar").read_text() == "jar"
