"""What a process measured."""

from infra.process.metrics import REGISTRY


def value(name: str, **labels: object) -> float | None:
    """A series' value; None where nobody measured it."""
    return REGISTRY.get_sample_value(name, {key: str(label) for key, label in labels.items()})


def counted(name: str, **labels: object) -> float:
    """How much was counted so far, of what only ever grows."""
    return value(name, **labels) or 0.0
