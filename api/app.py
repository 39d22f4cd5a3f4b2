"""The API as one application: routes, the shape of errors, and the bound on bodies."""

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from api import resources
from api.http import problems
from api.http.body_limit import BodyLimit
from api.http.timing import Timing
from api.openapi.samples import complete
from api.reads.event_stream import Feed
from api.resources import service
from api.services import Services
from api.writes.dead_records import DeadRecords
from domain.core.discovery import modules
from infra.process import traces

ROUTES = tuple(module for module in modules(resources) if hasattr(module, "router"))
"""The modules in `api/resources` that have a router; their routes are served."""
STREAMS = "/stream"


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
    app = routed(services.settings.api.max_body)
    serve(app, services)
    return app


def serve(app: FastAPI, services: Services) -> None:
    """Answer requests with these services from now on."""
    app.state.services = services
    app.state.feed = Feed(services.log, services.clock)
    app.state.dead = DeadRecords(services.log, services.store, services.clock, services.settings.api.read_timeout)


def routed(max_body: int) -> FastAPI:
    """Return the application with its routes and middleware, but without services."""
    app = FastAPI(
        title="GoStack",
        version="1",
        summary="Run virtual machines on many hosts; everything that ever happened is an event on a log.",
        redirect_slashes=False,
        docs_url="/docs",
        redoc_url=None,
        telemetry=telemetry(),
    )
    for route in ROUTES:
        app.include_router(route.router, prefix="/v1")
    app.include_router(service.health)
    problems.install(app, max_body)
    app.add_middleware(BodyLimit, most=max_body)
    app.add_middleware(Timing)
    complete(app)
    return app
