"""A policy as people write it: names of filters and weights that replace the scheduler's own."""

from collections.abc import Iterable, Mapping, Sequence

from domain.core.errors import Invalid
from domain.scheduling.filters import FILTERS
from domain.scheduling.policy import DEFAULT, Policy
from domain.scheduling.weighers import WEIGHERS

HEAVIEST = 1_000_000.0
"""Largest weight that is allowed, positive or negative; a negative one prefers the least."""


def wished(filters: Sequence[str] | None, weights: Mapping[str, float] | None, field: str = "policy") -> Policy:
    """Return the policy that a request describes; what is None is as the scheduler has it.

    Raises Invalid, which names the part of `field` that is wrong, and what is allowed there.
    """
    chosen = DEFAULT.filters
    if filters is not None:
        for index, name in enumerate(filters):
            if name not in FILTERS:
                raise Invalid(field=f"{field}.filters.{index}", value=_short(name), allowed=_one_of(FILTERS))
            if name in filters[:index]:
                raise Invalid(field=f"{field}.filters.{index}", value=name, allowed="each filter may be named once")
        chosen = tuple(FILTERS[name] for name in filters)
    weighers = DEFAULT.weighers
    if weights is not None:
        for name, weight in weights.items():
            if name not in WEIGHERS:
                raise Invalid(field=f"{field}.weights", value=_short(name), allowed=_one_of(WEIGHERS))
            if not -HEAVIEST <= weight <= HEAVIEST:
                allowed = f"it must be from {-HEAVIEST:g} to {HEAVIEST:g}"
                raise Invalid(field=f"{field}.weights.{name}", value=weight, allowed=allowed)
        weighers = tuple((WEIGHERS[name], weight) for name, weight in weights.items())
    return Policy(chosen, weighers)


def _one_of(names: Iterable[str]) -> str:
    return f"it must be one of {', '.join(names)}"


def _short(text: str) -> str:
    return text[:80]
