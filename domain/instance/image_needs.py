"""The needs of an image, checked before any host is asked."""

from domain.core.errors import Invalid
from domain.guest_spec import FlavorRef, ImageRef


def must_have_memory(image: ImageRef, flavor: FlavorRef) -> None:
    """Check that a flavor has the memory that an image needs. Raises Invalid."""
    if flavor.memory < image.min_ram:
        needs = f"image {image.name} needs {image.min_ram} bytes of memory, and the flavor has {flavor.memory}"
        raise Invalid(field="flavor", value=flavor.name, allowed=needs)


def must_have_disk(image: ImageRef, disk: int, field: str, value: object) -> None:
    """Check that a root disk of so many bytes has room for an image; `field` and `value` are what is refused.

    Raises Invalid.
    """
    needed = max(image.virtual_size, image.min_disk)
    if disk < needed:
        needs = f"image {image.name} needs a root disk of {needed} bytes, and this has {disk}"
        raise Invalid(field=field, value=value, allowed=needs)
