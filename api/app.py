"""The API as one application: routes, the shape of errors, who may call it, and the bound on bodies."""

from fastapi import Depends, FastAPI
from fastapi.telemetry import TelemetryConfig

from api import resources
from api.http import problems
from api.http.body_limit import BodyLimit
from api.http.bounded import Bounded
from api.http.caller_guard import CallerGuard, OwnNames
from api.http.storable import must_be_storable
from api.http.timing import Timing
from api.openapi import describe, docs_page
from api.openapi.samples import complete
from api.reads.event_stream import Feed
from api.resources import instances, service
from api.services import Services
from api.writes.dead_records import DeadRecords
from domain.core.discovery import modules
from infra.process import traces

ROUTES = sorted(
    (module for module in modules(resources) if hasattr(module, "router")), key=lambda module: module is not instances
)
"""The modules in `api/resources` that have a router; their routes are served. A request's path is held against one
route after another, so instances, which most requests are for, come first."""
STREAMS = "/stream"
MOST_TESTS = 8
"""Webhooks that are tested at once; each test is a request that waits for a stranger's answer."""


def telemetry() -> TelemetryConfig:
    """Return FastAPI's telemetry settings: a span for each request if traces are on, and nothing else."""
    return {
        "tracer_provider": traces.provider(),
        "tracing": traces.on(),
        "metrics": False,
        "logs": False,
        "operation_spans": False,
        "auto_configure": False,
        "exclude": lambda scope: not scope["path"].startswith("/v1/") or scope["path"].endswith(STREAMS),
    }


def create_app(services: Services) -> FastAPI:
    """Return the application that serves users."""
    settings = services.settings.api
    app = routed(settings.max_body, OwnNames(settings.listen, settings.names.split(",")))
    serve(app, services)
    return app


def serve(app: FastAPI, services: Services) -> None:
    """Answer requests with these services from now on."""
    app.state.services = services
    app.state.feed = Feed(services.log, services.clock)
    app.state.webhook_tests = Bounded("webhook-tests", "webhooks are tested", MOST_TESTS)
    app.state.dead = DeadRecords(services.log, services.store, services.clock, services.settings.api.read_timeout)


def routed(max_body: int, names: OwnNames) -> FastAPI:
    """Return the application with its routes and middleware, but without services.

    `max_body` is in bytes; requests may call the application by these names."""
    app = FastAPI(
        title="GoStack",
        version="1",
        summary="Run virtual machines on many hosts; everything that ever happened is an event on a log.",
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        telemetry=telemetry(),
        dependencies=[Depends(must_be_storable)],
        responses=describe.problem_answers(422),
    )
    for route in ROUTES:
        app.include_router(route.router, prefix="/v1")
    app.include_router(service.health)
    problems.install(app, max_body)
    docs_page.install(app)
    app.add_middleware(BodyLimit, most=max_body)
    app.add_middleware(CallerGuard, names=names)
    app.add_middleware(Timing)
    complete(app)
    return app
