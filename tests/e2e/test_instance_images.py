"""An image is made of a guest that runs, and another guest boots of it."""

import uuid

import pytest

from tests.e2e.conftest import User
from tests.e2e.test_guests import boot

pytestmark = pytest.mark.e2e


def test_a_guest_boots_of_the_image_of_another(user: User) -> None:
    run = uuid.uuid4().hex[:6]
    first, second, image = f"parent-{run}", f"child-{run}", f"made-{run}"
    boot(user, first)
    try:
        user.wait_ready(first)
        user.gs("instance", "create-instance-image", first, "--name", image, "--description", "as it ran")
        shown = user.read("image", "show", image)
        assert (shown["description"], shown["format"], shown["arch"]) == ("as it ran", "qcow2", "x86_64")
        assert user.read("instance", "show", first)["status"] == "active"
        user.gs("instance", "boot", "--name", second, "--flavor", "tiny", "--image", image, "--network", "demo")
        assert "gostack-guest: boots=2" in user.wait_ready(second), "it stands on the disk of one that booted once"
        user.gs("instance", "delete", "--hard", second)
        user.gs("image", "delete", image)
    finally:
        user.gs("instance", "delete", "--hard", first)
