"""Flavors, images, keypairs and zones: small things with a name, whose document is their state."""

from collections.abc import Callable, Iterable

from domain.flavor import Flavor
from domain.image import Image
from domain.keypair import Keypair
from domain.zone import Zone
from projections.views.view import Change, Column, Row, View, aggregate

Named = type[Flavor] | type[Image] | type[Keypair] | type[Zone]


def _rows(kind: Named) -> Callable[[Change], Iterable[Row]]:
    def rows(change: Change) -> Iterable[Row]:
        """The thing's row."""
        now = change.after
        if not isinstance(now, kind):
            return
        doc = now.model_dump(mode="json")
        project = doc.pop("project", "")
        if project:
            doc["project_id"] = project
        yield Row(
            id=doc["id"],
            version=change.version,
            created=now.created,
            columns={"name": doc["name"], "project": project, "deleted": doc["deleted"] is not None},
            doc={**doc, "version": change.version},
        )

    return rows


def _view(name: str, kind_name: str, kind: Named) -> View:
    columns = (Column("name", indexed=True), Column("project"), Column("deleted", "boolean"))
    return View(name=name, kinds=frozenset({kind_name}), rows=_rows(kind), columns=columns, about=aggregate)


FLAVORS = _view("flavors", "flavor", Flavor)
IMAGES = _view("images", "image", Image)
KEYPAIRS = _view("keypairs", "keypair", Keypair)
ZONES = _view("zones", "zone", Zone)
