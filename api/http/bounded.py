"""A bound on how many requests of one kind this process has under way at once."""

from collections.abc import Iterator
from contextlib import contextmanager

from api.http.refusals import Overloaded
from infra.process import metrics


class Bounded:
    """The requests of one kind that are under way, of which there are never more than `most`."""

    def __init__(self, name: str, what: str, most: int) -> None:
        """Begin with none. `name` is the bound's in metrics; `what` says in the refusal what the requests do."""
        self.most = most
        self.now = 0
        """Number of requests that are under way."""
        self._name = name
        self._what = what

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold the place of one request. Raises Overloaded.

        Enter it before anything is awaited: of those that come together no more than `most` get in.
        """
        if self.now >= self.most:
            metrics.OVERLOADS.labels(self._name).inc()
            raise Overloaded(now=self.now, what=self._what, bound="a process", most=self.most, retry_after=1)
        self.now += 1
        try:
            yield
        finally:
            self.now -= 1
