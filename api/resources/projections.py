"""Projections: the read models, how far they are behind the log, and runs on all of them."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, Query
from pydantic import Field
from starlette.responses import Response

from api.documents.document import page_of
from api.documents.operations import ProjectionDocument, RunDocument
from api.http.patterns import LIKE_AN_ID
from api.http.permissions import needs
from api.http.refusals import ProjectionBusy
from api.http.request_context import RequestContextDep, ServicesDep
from api.openapi import describe, examples
from api.reads.queries import JSON, MOST, Strict, joined
from api.services import Services
from domain.core.errors import NotFound
from domain.core.messages import Topic
from infra.log.lag import lags, total_lag
from projections.maintenance.runs import Run, RunKind, RunUnderWay
from projections.views.table import VIEWS

router = APIRouter(tags=["projections"])

VIEW, RUNS = "projections", "runs"


class RunBody(Strict):
    """A run on all read models that is to be started."""

    kind: RunKind


class RunList(Strict):
    """Parameters of a list of runs."""

    limit: int = Field(50, ge=1, le=MOST, description="documents in a page")
    marker: str | None = Field(
        None, max_length=64, description="id of the last document of the page before", json_schema_extra=LIKE_AN_ID
    )


@router.get(
    "/projections",
    openapi_extra=needs("projection:list"),
    summary="List projections",
    responses=describe.answers(
        200, page_of(VIEW, ProjectionDocument), {VIEW: [examples.PROJECTION], "next": None}, 422
    ),
)
async def list_projections(services: ServicesDep) -> Response:
    """All read models are made of the same events in the same transactions, so all are equally far behind."""
    bounds = await services.log.bounds([Topic.EVENTS, Topic.DEAD])
    at = await services.store.positions(list(bounds))
    lag = total_lag(await lags(services.log, at, services.clock(), bounds=bounds))
    shown = [
        {
            "name": view.name,
            "rows": await services.store.count(view.name),
            "lag": lag.records,
            "lag_seconds": lag.seconds,
        }
        for view in VIEWS.values()
    ]
    return joined(VIEW, [orjson.dumps(each) for each in shown], None)


@router.post(
    "/projections/runs",
    openapi_extra=needs("projection:run"),
    status_code=202,
    summary="Rebuild, roll back or verify the read models",
    responses=describe.answers(202, RunDocument, examples.RUN, 409, 422),
)
async def request(
    services: ServicesDep, context: RequestContextDep, body: Annotated[RunBody, Body(examples=[{"kind": "rebuild"}])]
) -> Response:
    """The projector carries out the run while reads go on. Only one run may be under way at a time."""
    if context.keyed and (before := await services.runs.get(context.command_id)):
        return _answer(services, before, 202)
    run = Run(context.command_id, body.kind, "asked", context.actor, services.clock())
    try:
        await services.runs.request(run)
    except RunUnderWay as error:
        raise ProjectionBusy(id=str(error)) from error
    return _answer(services, run, 202)


@router.get(
    "/projections/runs",
    openapi_extra=needs("projection:list"),
    summary="List runs",
    responses=describe.answers(200, page_of(RUNS, RunDocument), {RUNS: [examples.RUN], "next": None}, 422),
)
async def list_runs(services: ServicesDep, parameters: Annotated[RunList, Query()]) -> Response:
    """Runs are listed with the newest first."""
    found = await services.runs.page(parameters.limit + 1, parameters.marker or "")
    shown = found[: parameters.limit]
    docs = [orjson.dumps(_document(services, run)) for run in shown]
    return joined(RUNS, docs, shown[-1].id if len(found) > len(shown) else None)


@router.get(
    "/projections/runs/{ident}",
    openapi_extra=needs("projection:show"),
    summary="Show a run",
    responses=describe.answers(200, RunDocument, examples.RUN, 404),
)
async def show_run(services: ServicesDep, ident: str) -> Response:
    """The run is shown with its progress and its findings."""
    run = await services.runs.get(ident)
    if run is None:
        raise NotFound(kind="run", id=ident)
    return _answer(services, run, 200)


def _answer(services: Services, run: Run, status: int) -> Response:
    return Response(orjson.dumps(_document(services, run)), status, media_type=JSON)


def _document(services: Services, run: Run) -> dict[str, Any]:
    left = None
    if run.status == "running" and run.started and 0 < run.done < run.total:
        seconds = (services.clock() - run.started).total_seconds()
        left = round(seconds * (run.total - run.done) / run.done, 1)
    return {
        "id": run.id,
        "kind": run.kind,
        "status": run.status,
        "actor": run.actor,
        "asked": run.asked,
        "started": run.started,
        "finished": run.finished,
        "done": run.done,
        "total": run.total,
        "seconds_left": left,
        "problems": run.problems,
        "error": run.error,
    }
