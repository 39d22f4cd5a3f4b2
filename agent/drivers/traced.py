"""A driver whose every call is a span: how long the hypervisor took, beside how long the job around it took."""

from inspect import iscoroutinefunction
from typing import Any, cast

from agent.drivers.driver import Driver
from infra.process import traces


class TracedDriver:
    """Another driver's methods, each in a span of its own where a trace is followed."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._driver, name)
        if not iscoroutinefunction(found):
            return found

        async def call(*args: Any, **more: Any) -> Any:
            with traces.span(f"hypervisor {name}", traces.CLIENT):
                return await found(*args, **more)

        return call


def traced(driver: Driver) -> Driver:
    """The same driver; with spans where this process makes any."""
    return cast(Driver, TracedDriver(driver)) if traces.on() else driver
