"""Commands that every kind of aggregate has: history, diff, why and release."""

import typer

from cli.gs.parking import add_release
from cli.gs.resources import Resource
from cli.gs.standard import add_diff, add_history
from cli.gs.why import add_why


def add_story(app: typer.Typer, resource: Resource) -> None:
    """Add the commands history, diff, why and release to a group."""
    add_history(app, resource)
    add_diff(app, resource)
    add_why(app, resource)
    add_release(app, resource)
