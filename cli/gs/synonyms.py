"""Synonyms of groups and commands, which users of other clients know. Help does not list them."""

from typing import Any

from typer.core import TyperGroup

SYNONYMS = {"server": "instance", "vm": "instance", "create": "boot", "ls": "list", "rm": "delete"}
"""Synonyms and the names they stand for, unless a command has the synonym as its name."""


class SynonymGroup(TyperGroup):
    """A group whose commands are found by their synonyms too, and listed without them."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command with this name or synonym, or None."""
        return self.commands.get(cmd_name) or self.commands.get(SYNONYMS.get(cmd_name, ""))
