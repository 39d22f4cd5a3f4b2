"""The OpenAPI description: as it was reviewed, and complete."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from api.description import described
from api.documents.answers import Accepted, CommandDocument, Problem, ReleasedDocument
from api.documents.events import DeadDocument, DeadWhole, EventDocument
from api.documents.instances import Booting, Display, ParkedDocument
from api.documents.moments import Causes, Difference
from api.documents.operations import ProjectionDocument, RunDocument
from api.documents.scheduling import Placements, SchedulerDocument, Scores
from api.documents.simulation import Simulation
from api.openapi import examples
from api.resource import RESOURCES
from api.resources import images
from api.resources.images import UploadDocument
from domain.aggregates import AGGREGATES
from projections.views.table import VIEWS
from tests.api.api import DESCRIBED, GOLDEN

SCHEMA = DESCRIBED
OPERATIONS = [
    pytest.param(operation, id=f"{method} {path}")
    for path, operations in SCHEMA["paths"].items()
    for method, operation in operations.items()
]


def test_it_is_as_it_was_reviewed() -> None:
    """Where this fails and the change is meant: python -m api.description > docs/openapi.json."""
    assert GOLDEN.read_bytes() == described()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_is_described_with_examples(operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"]
    assert operation["tags"]
    assert operation["x-codeSamples"][0]["source"].startswith("curl ")
    for content in operation.get("requestBody", {}).get("content", {}).values():
        assert "example" in content or "examples" in content["schema"]
    good = [answer for status, answer in operation["responses"].items() if status.startswith("2")]
    assert good
    for answer in good:
        assert all("example" in content for content in answer["content"].values())
    assert {"422", "503"} <= set(operation["responses"])
    if any(each["name"] == "after" for each in operation.get("parameters", ())):
        assert "504" in operation["responses"]
    if "application/json" in operation.get("requestBody", {}).get("content", {}):
        assert {"400", "413"} <= set(operation["responses"])


def test_every_example_fits_its_shape() -> None:
    assert {kind.plural for kind in AGGREGATES.values()} <= RESOURCES.keys() <= VIEWS.keys()
    for resource in RESOURCES.values():
        resource.document.model_validate(resource.example)
        assert set(resource.example) == set(resource.document.model_fields)
    for shape, example in (
        (EventDocument, examples.EVENT),
        (Booting, examples.BOOTING),
        (Accepted, examples.ACCEPTED),
        (DeadDocument, examples.DEAD),
        (DeadWhole, examples.DEAD_WHOLE),
        (ReleasedDocument, examples.RELEASED),
        (Problem, examples.PROBLEM),
        (Display, examples.DISPLAY),
        (UploadDocument, images.UPLOAD),
        (CommandDocument, examples.COMMAND),
        (ProjectionDocument, examples.PROJECTION),
        (Difference, examples.DIFFERENCE),
        (Causes, examples.CAUSES),
        (SchedulerDocument, examples.SCHEDULER),
        (Placements, examples.PLACEMENTS),
        (Scores, examples.SCORES),
        (Simulation, examples.SIMULATION),
        (RunDocument, examples.RUN),
        (ParkedDocument, examples.PARKED),
    ):
        TypeAdapter(shape).validate_python(example)
