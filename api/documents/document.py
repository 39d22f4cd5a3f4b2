"""What every document is made of."""

from typing import Any

from pydantic import BaseModel, ConfigDict, create_model


class Document(BaseModel):
    """A JSON object."""

    model_config = ConfigDict(extra="forbid")


class Resource(Document):
    """How much of something a host has, and how much of it is held."""

    total: int
    used: int


def page_of(name: str, shape: type[Document]) -> type[Document]:
    """The shape of a page of these."""
    fields: dict[str, Any] = {name: (list[shape], ...), "next": (str | None, None)}  # type: ignore[valid-type]
    title = f"{shape.__name__.removesuffix('Document')}Page"
    made: type[Document] = create_model(title, __base__=Document, __doc__=f"A page of {name}.", **fields)
    return made
