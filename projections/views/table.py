"""Every read model: the views that a file here declares, and one for each kind that has none of its own."""

from domain.aggregates import AGGREGATES
from domain.core.discovery import declared
from projections import views
from projections.views.of_kind import view_of
from projections.views.view import View

_OWN = {view.name: view for view in declared(views, View)}

VIEWS: dict[str, View] = _OWN | {kind.plural: view_of(kind) for kind in AGGREGATES.values() if kind.plural not in _OWN}
