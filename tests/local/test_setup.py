"""What setup installs is all that the rest asks for."""

from infra.images.build import MBR_PACKAGE, TOOLS
from infra.local.setup import NEEDS

ON_EVERY_DEBIAN = {"apt", "dpkg"}


def test_setup_brings_every_tool_of_the_guest_image() -> None:
    brought = {package for need in NEEDS for package in need.packages}
    assert {*TOOLS.values(), MBR_PACKAGE} - ON_EVERY_DEBIAN <= brought
