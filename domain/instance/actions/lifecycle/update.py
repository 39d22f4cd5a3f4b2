"""update: name, description and metadata. No task: it is done when it is accepted."""

from typing import Annotated

from domain.core.fields import PERSONAL
from domain.instance.action import InstanceCommand


class UpdateInstance(InstanceCommand):
    """Change an instance's name, description or metadata; fields that are left out stay as they are."""

    name: Annotated[str | None, PERSONAL] = None
    description: Annotated[str | None, PERSONAL] = None
    metadata: Annotated[dict[str, str] | None, PERSONAL] = None
