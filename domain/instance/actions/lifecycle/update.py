"""update: name, description and metadata. No task: it is done when it is accepted."""

from domain.instance.action import InstanceCommand


class UpdateInstance(InstanceCommand):
    """Change an instance's name, description or metadata; what is not given stays."""

    name: str | None = None
    description: str | None = None
    metadata: dict[str, str] | None = None
