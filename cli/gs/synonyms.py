"""Other words for groups and commands, for fingers that are used to them. Help does not speak of them."""

from typing import Any

from typer.core import TyperGroup

SYNONYMS = {"server": "instance", "vm": "instance", "create": "boot", "ls": "list", "rm": "delete"}
"""A word counts for another where nothing has that name itself: `create` is boot in the group instance alone."""


class SynonymGroup(TyperGroup):
    """A group whose commands are found by their synonyms too, and listed without them."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name or synonym, or None."""
        return self.commands.get(cmd_name) or self.commands.get(SYNONYMS.get(cmd_name, ""))
