"""The resources of the API: each kind of thing that it serves, with the shape of its documents and an example.

Why registered: lists, names, fields and examples are looked up by the view's name, wherever a resource's file stands.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.documents.document import Document
from domain.kind import Kind


@dataclass(frozen=True)
class ApiResource:
    """A kind of thing that has a view, which is also the path of its list."""

    view: str
    noun: str
    document: type[Document]
    example: Mapping[str, Any]
    """A document, for the description of the API; it also says what stands for `{ref}` in example requests."""
    kind: Kind | None = None
    """The kind of aggregate that it is; None for what is part of one, as a port, or about one, as a task."""
    remembered: bool = False
    """The documents may be a second old when a boot refers to them."""

    def __post_init__(self) -> None:
        RESOURCES[self.view] = self

    @property
    def ref(self) -> str:
        """Return what stands for `{ref}` in example requests."""
        return str(self.example["name"] if self.kind is not None or self.view == "ports" else self.example["id"])


RESOURCES: dict[str, ApiResource] = {}
"""View -> what is served from it."""


def of_kind(
    kind: Kind, document: type[Document], example: Mapping[str, Any], *, remembered: bool = False
) -> ApiResource:
    """Make the resource that a kind of aggregate is served as."""
    return ApiResource(kind.plural, kind.name, document, example, kind, remembered)
