"""A read model that is made from a kind's row alone."""

from types import SimpleNamespace
from typing import cast

from domain.core.messages import Envelope
from domain.instance.actions import ACTIONS
from domain.instance.actions.power.stop import StopInstance
from domain.instance.evolve import evolve
from domain.instance.state import Instance
from domain.kind import Kind, ListFilter
from projections.views.of_kind import OF_TASKS, view_of
from projections.views.view import Change
from tests.domain.instances import Scenario

BOX = Kind(
    name="instance",
    help="Things of this test.",
    plural="boxes",
    state=Instance,
    evolve=evolve,
    actions=ACTIONS,
    filters=(ListFilter("zone", "in this zone"),),
    hidden=frozenset({"nics"}),
)


def test_it_shows_the_state_without_what_is_hidden_and_what_is_being_done() -> None:
    busy = Scenario().booted().send(StopInstance())
    assert busy.now is not None
    assert busy.now.task is not None
    view = view_of(BOX)
    (row,) = view.rows(Change(cast(Envelope, SimpleNamespace(aggversion=3)), None, busy.now, ("gostack.events", 0, 7)))
    assert row.columns == {"name": busy.now.name, "project": busy.now.project, "deleted": False, "zone": ""}
    assert (row.version, row.doc["version"]) == (3, 3)
    assert row.columns.keys() == {column.name for column in view.columns}
    assert row.doc["project_id"] == busy.now.project
    assert (row.doc["status"], row.doc["task"]["id"]) == ("stopping", busy.now.task.id)
    assert not row.doc.keys() & ({"nics", "project"} | OF_TASKS - {"task"})
