"""The resources of the API: each kind that it serves, with the shape of its documents and an example.

Why a registry: lists, names, fields and examples are looked up by the view's name.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from api.documents.document import Document
from domain.kind import Kind

if TYPE_CHECKING:
    from api.services import Services

Ident = Callable[["Services", str, str], Awaitable[str]]
"""Return the id of what is referred to, by its id or name and the project that asks. Raises NotFound, NameNotUnique."""
Addition = Callable[["Services", dict[str, Any]], dict[str, Any]]
"""Return a document with what no event says, such as what follows from a setting."""

Usable = Callable[[Mapping[str, Any]], None]
"""Check a document. Raises a Refusal where what it shows cannot be used now."""


@dataclass(frozen=True)
class ApiResource:
    """A kind of resource that has a view, whose name is also the path of its list."""

    view: str
    noun: str
    document: type[Document]
    example: Mapping[str, Any]
    """An example document for the description of the API, which also gives `{ref}` in example requests."""
    kind: Kind | None = None
    """The kind of aggregate; None for a part of another aggregate, such as a port, or for a task."""
    remembered: bool = False
    """Whether boots may use copies of the documents that are a second old."""
    addition: Addition | None = None
    """Function with which a read completes each document of the read models."""
    usable: Usable | None = None
    """Function that checks that something else can be made with the resource, by its document."""
    ident: Ident | None = None
    """Function that finds what a request refers to, where the usual way would not do."""

    def __post_init__(self) -> None:
        RESOURCES[self.view] = self

    @property
    def ref(self) -> str:
        """Return what stands for `{ref}` in example requests."""
        return str(self.example["name"] if self.kind is not None or self.view == "ports" else self.example["id"])


RESOURCES: dict[str, ApiResource] = {}
"""The resources by the names of their views."""


def of_kind(
    kind: Kind,
    document: type[Document],
    example: Mapping[str, Any],
    *,
    remembered: bool = False,
    addition: Addition | None = None,
    usable: Usable | None = None,
    ident: Ident | None = None,
) -> ApiResource:
    """Make the resource that a kind of aggregate is served as."""
    return ApiResource(kind.plural, kind.name, document, example, kind, remembered, addition, usable, ident)
