"""A chain of causes as JSON: steps in words, and the same as nodes and edges."""

from typing import Any

import orjson
from starlette.responses import Response

from api.reads import resolve
from api.reads.queries import JSON, After, Strict, caught_up
from api.reads.time_travel import subject_of
from api.services import Services
from projections.history.causality import CausalChain
from projections.history.causality import explain as chain_of


class Why(Strict):
    """Parameters of a read of a chain of causes."""

    after: After = None


async def why(services: Services, view: str, ref: str, project: str, parameters: Why) -> Response:
    """Answer with the causes of a resource's state. Raises NotFound, NameNotUnique, TooManyEvents."""
    await caught_up(services, parameters.after)
    found = await resolve.found(services, view, ref, project)
    chain = await chain_of(services.store, subject_of(view, found), task=found.id if view == "tasks" else "")
    return Response(orjson.dumps({"id": found.id, **_body(chain)}), media_type=JSON)


def _body(chain: CausalChain) -> dict[str, Any]:
    steps = [
        {
            "id": step.entry.id,
            "time": step.entry.time,
            "actor": step.entry.actor,
            "type": step.entry.type,
            "subject": str(step.entry.subject),
            "place": {"topic": step.entry.topic, "partition": step.entry.partition, "offset": step.entry.offset},
            "correlation_id": step.entry.correlation,
            "causation_id": step.entry.causation,
            "says": step.says,
        }
        for step in chain.steps
    ]
    shown = {step.entry.id for step in chain.steps}
    edges = [{"from": step.after, "to": step.entry.id} for step in chain.steps if step.after in shown]
    return {"steps": steps, "edges": edges, "cut": chain.cut}
