"""A scheduling policy in a file: filters, weights and ratios."""

import json
from pathlib import Path
from typing import Any

from cli.gs.parsing import text_or_file
from cli.gs.problems import Usage

PARTS = {"filters": list, "weights": dict, "ratios": dict}
HINT = "It holds filters (a list of names), weights and ratios (numbers by name), or some of these."


def read_policy(path: Path) -> dict[str, Any]:
    """Read a policy from a file, as the service takes it; the service checks names and numbers. Raises Usage."""
    import yaml

    try:
        found = yaml.safe_load(text_or_file(f"@{path}"))
    except yaml.YAMLError as error:
        raise Usage(f"--policy {path} is neither YAML nor JSON: {' '.join(str(error).split())}", HINT) from error
    if not isinstance(found, dict):
        raise Usage(f"--policy {path} holds no fields.", HINT)
    for name, value in found.items():
        if name not in PARTS:
            raise Usage(f"--policy {path}: there is no field {name!r}; there are {', '.join(PARTS)}.", HINT)
        if not isinstance(value, PARTS[name]):
            kind = "a list of names" if PARTS[name] is list else "numbers by name"
            raise Usage(f"--policy {path}: {name} must be {kind}.", HINT)
    try:
        json.dumps(found, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise Usage(f"--policy {path} holds something that is neither a name nor a number: {error}", HINT) from error
    return found
