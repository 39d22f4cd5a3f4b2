"""Find what the modules of a package declare, so that a new file is a new row and nobody keeps a list."""

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")


def modules(package: ModuleType) -> Iterator[ModuleType]:
    """Import and yield every module below a package, in the order of their names."""
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        yield importlib.import_module(found.name)


def declared(package: ModuleType, kind: type[T]) -> Iterator[T]:
    """Yield every public value of a class that a module below a package declares in its own name, each once."""
    seen: set[int] = set()
    for module in modules(package):
        for name, value in vars(module).items():
            if name.isupper() and isinstance(value, kind) and id(value) not in seen:
                seen.add(id(value))
                yield value
