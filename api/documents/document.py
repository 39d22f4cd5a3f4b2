"""The base of every document, and the shapes that several documents share."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model


class Document(BaseModel):
    """A JSON object that has no fields but the declared ones."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class ResourceUsage(Document):
    """An amount of a resource that a host has, and how much of it is in use."""

    total: int = Field(description="amount that there is")
    capacity: int = Field(description="amount that may be promised to instances: the total times the overcommit ratio")
    used: int = Field(description="amount that is promised to instances")


def page_of(name: str, shape: type[Document]) -> type[Document]:
    """Return the shape of a page of these documents, which stand under this name."""
    fields: dict[str, Any] = {name: (list[shape], ...), "next": (str | None, None)}  # type: ignore[valid-type]
    title = f"{shape.__name__.removesuffix('Document')}Page"
    made: type[Document] = create_model(title, __base__=Document, __doc__=f"A page of {name}.", **fields)
    return made
